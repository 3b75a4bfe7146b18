"""When a worker reports to the driver, whatever work it does. Imports no torch."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Any

from ray.tune import Trainable

TASK = "task"
"""Key in a worker's configuration: the `TrialTask`, as JSON."""

NUMBER = "number"
"""Key in a worker's configuration: the trial's number."""

EPOCH = "epoch"
"""Key in a report: number of epochs trained so far."""

CURVE = "curve"
"""Key in a report: metrics of the epochs since the last report, a list of `EpochMetrics` as JSON."""

EXECUTION_INFO = "execution_info"
"""Key in a report at a rung, where the driver decides whether the trial continues: the execution part of the trial's
record, as JSON."""

_MIN_INTERVAL_S, _MAX_INTERVAL_S = 1.0, 10.0
_MAX_IDLE_SHARE = 0.05


def report_interval(answered_after_s: float) -> float:
    """Return how long a worker trains before its next report, in seconds.

    A worker idles while a report travels to the driver and back, so several short epochs share one report. A driver of
    many workers answers late and gets fewer reports: a worker idles at most 5 % of its time, but reports at least every
    10 seconds.

    Args:
        answered_after_s: How long the last report waited for its answer, in seconds.
    """
    return min(max(_MIN_INTERVAL_S, answered_after_s / _MAX_IDLE_SHARE), _MAX_INTERVAL_S)


class ReportingTrainable(Trainable, ABC):  # type: ignore[misc]
    """Serves one task after another in the same process, an epoch or more per Tune step.

    A derived class opens what trials share in `setup`, calls `begin` at its end, and may set `rungs` there.

    Attributes:
        rungs: Numbers of epochs after which the driver decides whether the trial continues.
    """

    rungs: tuple[int, ...] = ()
    _reported_at: float | None = None

    @abstractmethod
    def begin(self, config: dict[str, Any]) -> None:
        """Take the task in `config` and drop the last one."""

    @abstractmethod
    def advance(self) -> int | None:
        """Train an epoch and return its number, from 1; None when none is left."""

    def last_metrics(self) -> tuple[str, ...]:
        """Return the metrics of the last epoch, `EpochMetrics` as JSON; empty if the trainable has none."""
        return ()

    @abstractmethod
    def account(self) -> str:
        """Write the learning curve and return the execution part of the record, as JSON."""

    @property
    @abstractmethod
    def has_ended(self) -> bool:
        """Whether the trial's record is on disk."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next task in the same process."""
        self._reported_at = None  # the time since the last report is no round trip
        self.begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train for about a second, at least one epoch, and report progress to Tune.

        A step ends at a rung even if it was short: Tune requests the next step after the driver has decided, based on
        the learning curve on disk.
        """
        report: dict[str, Any] = {}
        now = time.monotonic()
        deadline = now + report_interval(0.0 if self._reported_at is None else now - self._reported_at)
        while not self.has_ended:
            epoch = self.advance()
            if epoch is not None:
                report[EPOCH] = epoch
                report.setdefault(CURVE, []).extend(self.last_metrics())
                if epoch in self.rungs and not self.has_ended:
                    report[EXECUTION_INFO] = self.account()
                    break
            if time.monotonic() >= deadline:
                break
        self._reported_at = time.monotonic()
        return {**report, "done": self.has_ended}
