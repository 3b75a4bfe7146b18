"""What the worker processes of a run get, and how they open it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nas_distill.models  # noqa: F401 - registers the architectures that specs name, in every worker
from nas_distill.config import ResourcesConfig
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.trial.context import TrialContext, WorkerConfig, open_context


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSetup:
    """What every worker process that trains students of a run gets.

    Attributes:
        config: Where a worker finds what all trials share.
        resources: What one training takes; `gpus_per_trial` is a number, not "auto".
    """

    config: WorkerConfig
    resources: ResourcesConfig

    @property
    def run(self) -> RunDirectory:
        """The run directory."""
        return RunDirectory(Path(self.config.run))

    def open_context(self, *, cuda: bool | None = None) -> TrialContext:
        """Open what all trials share, in a worker process.

        Args:
            cuda: Whether to train on the first visible GPU; by default as `config` says.

        Raises:
            RunError: Part of the run directory is missing or damaged.
            SpaceError: A user's file cannot be imported.
        """
        return open_context(self.config if cuda is None else self.config.model_copy(update={"cuda": cuda}))


PlanWorkers = Callable[[], WorkerSetup]
"""Returns what workers get. It may measure GPU memory first, so it is called only when something is left to train."""
