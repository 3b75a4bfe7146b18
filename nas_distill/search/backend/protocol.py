"""When a worker reports to the driver, whatever it does in between. Imports no torch."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Any

from ray.tune import Trainable

TASK = "task"
"""In a worker's configuration: an `TrialTask`, as JSON."""

NUMBER = "number"
"""In a worker's configuration: the assignment's."""

EPOCH = "epoch"
"""In a report: epochs trained so far."""

EXECUTION_INFO = "execution_info"
"""Reported at a rung, where the driver decides whether the trial goes on: the worker's share of its record, as JSON."""

CURVE = "curve"
"""In a report: metrics of the epochs since the last report, `EpochMetrics` as JSON."""

_EVERY_S, _AT_MOST_EVERY_S = 1.0, 10.0
_IDLE_SHARE = 0.05


def report_interval(answered_after_s: float) -> float:
    """Returns for how long a worker works before its next report, seconds.

    A report costs a round trip to the driver, in which the worker idles: short epochs share one. A driver of many
    workers answers late, and is told less often: a worker idles a twentieth of its time, unless that asks for more than
    ten seconds between reports.

    Args:
        answered_after_s: How long the last report waited for its answer.
    """
    return min(max(_EVERY_S, answered_after_s / _IDLE_SHARE), _AT_MOST_EVERY_S)


class ReportingTrainable(Trainable, ABC):  # type: ignore[misc]
    """Serves one assignment after another in the same process, an epoch or more per step.

    Derived classes open what trials share in `setup`, which ends in `begin`, and may set `rungs` there.

    Attributes:
        rungs: Epochs after which the driver decides whether the trial goes on.
    """

    rungs: tuple[int, ...] = ()
    _reported_at: float | None = None

    @abstractmethod
    def begin(self, config: dict[str, Any]) -> None:
        """Takes the assignment that `config` holds, and drops the last one."""

    @abstractmethod
    def advance(self) -> int | None:
        """Trains an epoch and returns its number, from 1; None when there was none to train."""

    def last_metrics(self) -> tuple[str, ...]:
        """Return the metrics of the last epoch, `EpochMetrics` as JSON; empty if the trainable has none."""
        return ()

    @abstractmethod
    def account(self) -> str:
        """Writes the curve and returns the worker's share of the record, `ExecutionInfo` as JSON."""

    @property
    @abstractmethod
    def has_ended(self) -> bool:
        """Whether the trial's record is on disk."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next assignment in the same process."""
        self._reported_at = None  # what passed since is no round trip
        self.begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Trains for about a second, at least an epoch; tells Tune how far the trial is and whether it has ended.

        Ends at a rung, however soon: Tune asks for no further step before the driver has decided, by the curve that is
        on disk then.
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
