"""The configuration that a run was started with, and the default name of its folder."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from nas_distill.config import SearchConfig
from nas_distill.config.loading import load_config
from nas_distill.errors import ConfigError, RunError
from nas_distill.run_directory.files import reading
from nas_distill.run_directory.layout import RunDirectory


def default_folder(source: str) -> Path:
    """Return a run directory below `runs/`, named after the data source and the time.

    Args:
        source: The key `data.source`.
    """
    name = re.sub(r"[^\w.-]+", "-", Path(source.rpartition(":")[2]).name).strip("-.") or "data"
    return Path("runs") / f"{name}-{datetime.now(UTC).astimezone():%Y%m%d-%H%M%S}"


def read_run_config(run: RunDirectory) -> SearchConfig:
    """Return the configuration that a run was started with.

    Raises:
        RunError: There is no run, another version wrote it, or its `config.yaml` is damaged.
    """
    with reading(run.config):
        is_empty = run.existing().config.read_bytes().isspace() or not run.config.stat().st_size
    if is_empty:
        raise RunError(
            "is empty; restore it from a backup, or start again with another --out",
            code="run.damaged_config",
            field=str(run.config),
        )
    try:
        return load_config(run.existing().config).with_space_name()
    except ConfigError as error:
        raise RunError(
            f"{error}; undo the edit, or use the version that wrote the run",
            code="run.damaged_config",
            field=str(run.config),
        ) from None
