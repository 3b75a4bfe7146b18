"""The Ray Tune worker of a search: opens the run once, then runs one trial after another."""

from __future__ import annotations

from typing import Any

import torch

from nas_distill.records import EpochMetrics
from nas_distill.records.base import parse_record
from nas_distill.records.task import TrialTask
from nas_distill.search.backend.protocol import TASK, ReportingTrainable
from nas_distill.search.backend.workers import WorkerSetup
from nas_distill.trial.run import Trial


class DistillTrainable(ReportingTrainable):
    """Trains the students of a search's trials."""

    def setup(self, config: dict[str, Any], worker_setup: WorkerSetup, rungs: tuple[int, ...] = ()) -> None:
        """Open what all trials share and begin the first one."""
        self.rungs = rungs
        self._run = worker_setup.run
        self._context = worker_setup.open_context()
        self.begin(config)

    def begin(self, config: dict[str, Any]) -> None:
        """See `ReportingTrainable`."""
        task = parse_record(TrialTask, config[TASK], origin="task")
        self.__dict__.pop("_trial", None)  # frees the networks of the last trial before the next ones are built
        torch.cuda.empty_cache()
        self._point: EpochMetrics | None = None
        self._trial = Trial(task, self._context, self._run.trial(task.number))

    def advance(self) -> int | None:
        """See `ReportingTrainable`."""
        self._point = self._trial.advance()
        return None if self._point is None else self._point.epoch

    def last_metrics(self) -> tuple[str, ...]:
        """See `ReportingTrainable`."""
        return () if self._point is None else (self._point.model_dump_json(),)

    def account(self) -> str:
        """See `ReportingTrainable`."""
        return self._trial.account().model_dump_json()

    @property
    def has_ended(self) -> bool:
        """See `ReportingTrainable`."""
        return self._trial.record is not None
