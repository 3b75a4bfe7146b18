"""A worker of a search: a process that imports and opens everything once and serves one trial after another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import nas_distill.models  # noqa: F401 - registers the entrypoints that specs name, in every worker
from nas_distill.records.base import parse_record
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.protocol import TASK, ReportingTrainable
from nas_distill.search.spaces.loading import load_space
from nas_distill.trial.context import WorkerConfig, open_context
from nas_distill.trial.run import Trial


class DistillTrainable(ReportingTrainable):
    """Opens the run once, then runs one assignment after another."""

    def setup(
        self, config: dict[str, Any], worker_config: WorkerConfig, space_name: str, rungs: tuple[int, ...] = ()
    ) -> None:
        """Opens what all trials share."""
        if space_name.partition(":")[0].endswith(".py"):
            load_space(space_name)  # a space of one's own may register architectures with timm
        self.rungs = rungs
        self._run = RunDirectory(Path(worker_config.run))
        self._context = open_context(worker_config)
        self.begin(config)

    def begin(self, config: dict[str, Any]) -> None:
        """See `ReportingTrainable`."""
        task = parse_record(TrialTask, config[TASK], origin="task")
        self.__dict__.pop("_job", None)  # the last trial's networks go before the next one's come
        torch.cuda.empty_cache()
        self._job = Trial(task, self._context, self._run.trial(task.number))

    def advance(self) -> int | None:
        """See `ReportingTrainable`."""
        self._point = self._job.advance()
        return None if self._point is None else self._point.epoch

    def last_metrics(self) -> tuple[str, ...]:
        """See `ReportingTrainable`."""
        return () if self._point is None else (self._point.model_dump_json(),)

    def account(self) -> str:
        """See `ReportingTrainable`."""
        return self._job.account().model_dump_json()

    @property
    def has_ended(self) -> bool:
        """See `ReportingTrainable`."""
        return self._job.record is not None
