"""A worker of a search: a process that imports and opens everything once and serves one trial after another."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from ray.tune import Trainable

import nas_distill.models  # noqa: F401 - registers the entrypoints that specs name, in every worker
from nas_distill.frozen import parse_record
from nas_distill.search.messages import ASSIGNMENT, CIRCUMSTANCES, EPOCH
from nas_distill.search.spaces import load_space
from nas_distill.store import RunDirectory
from nas_distill.trial import Trial
from nas_distill.workplace import Assignment, Workplace, open_context

_REPORT_EVERY_S = 1.0
"""Every report costs a round trip to the driver, in which the worker idles: short epochs share one."""


class DistillTrainable(Trainable):  # type: ignore[misc]
    """Opens the run once, then runs one assignment after another, an epoch or more per step."""

    def setup(self, config: dict[str, Any], workplace: Workplace, space_name: str, rungs: tuple[int, ...] = ()) -> None:
        """Opens what all trials share."""
        if space_name.partition(":")[0].endswith(".py"):
            load_space(space_name)  # a space of one's own may register architectures with timm
        self._rungs = rungs
        self._run = RunDirectory(Path(workplace.run))
        self._context = open_context(workplace)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next assignment in the same process."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Trains for about a second, at least an epoch; tells Tune how far the trial is and whether it has ended.

        Ends at a rung, however soon: Tune asks for no further step before the driver has decided, by the curve that is
        on disk then.
        """
        report: dict[str, Any] = {}
        deadline = time.monotonic() + _REPORT_EVERY_S
        while self._job.record is None:
            point = self._job.advance()
            if point is not None:
                report[EPOCH] = point.epoch
                if point.epoch in self._rungs and self._job.record is None:
                    report[CIRCUMSTANCES] = self._job.account().model_dump_json()
                    break
            if time.monotonic() >= deadline:
                break
        return {**report, "done": self._job.record is not None}

    def _begin(self, config: dict[str, Any]) -> None:
        assignment = parse_record(Assignment, config[ASSIGNMENT], origin="assignment")
        self.__dict__.pop("_job", None)  # the last trial's networks go before the next one's come
        torch.cuda.empty_cache()
        self._job = Trial(assignment, self._context, self._run.trial(assignment.number))
