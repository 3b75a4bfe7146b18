"""The configuration that a run was started with."""

from __future__ import annotations

from nas_distill.config import SearchConfig
from nas_distill.config.loading import load_config
from nas_distill.errors import ConfigError, RunError
from nas_distill.run_directory.layout import RunDirectory


def read_run_config(run: RunDirectory) -> SearchConfig:
    """Returns the configuration that a run was started with.

    Raises:
        RunError: There is no run, or its `config.yaml` is damaged.
    """
    try:
        return load_config(run.existing().config)
    except ConfigError as error:
        raise RunError(
            f"{error}; this file is the run's memory: undo the edit, or use the version that wrote it"
        ) from None
