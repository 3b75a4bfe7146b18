"""When a search has had enough: trials, time, epochs, or a front that has stopped growing. Pure, but for a clock.

Time is the time of searching, over all sessions of a run: from each session's first event `search` to its `end`, or,
where it was killed, to the last event that it wrote (`spent_seconds`). What comes before (data, teacher) and after
(assistants, folds) is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from nas_distill.analysis.formatting import duration
from nas_distill.analysis.front.arithmetic import Floats, coordinates, hypervolume, non_dominated_mask, reference_point
from nas_distill.callbacks import BudgetLeft
from nas_distill.objectives import Objective
from nas_distill.records import TeacherRecord, TrialRecord, TrialStatus

BEGIN, END = "search", "end"
"""Kinds of the events that begin and end a session."""

WITHIN = frozenset({BEGIN, END, "trial", "alive"})
"""Kinds of the events by which the time of searching is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Bounds of a search; None is no bound.

    Attributes:
        trials: Trials handed out.
        time_s: Seconds of searching, over all sessions.
        epochs: Epochs trained in all.
        patience: Fully trained trials in a row after which the front must have grown.
    """

    trials: int | None = None
    time_s: float | None = None
    epochs: int | None = None
    patience: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a search has had.

    Attributes:
        trials: Trials handed out, those in flight included.
        time_s: Seconds of searching, over all sessions.
        epochs: Epochs trained in all, those of trials in flight included.
        still: Fully trained trials since the front last grew.
    """

    trials: int = 0
    time_s: float = 0.0
    epochs: int = 0
    still: int = 0


def reached(budget: Budget, spent: Spent) -> str | None:
    """Returns why no more trials are handed out, or None while they are."""
    if budget.trials is not None and spent.trials >= budget.trials:
        return f"{budget.trials} trials (--trials)"
    if budget.time_s is not None and spent.time_s >= budget.time_s:
        return f"{duration(budget.time_s)} of searching (--time-budget)"
    if budget.epochs is not None and spent.epochs >= budget.epochs:
        return f"{budget.epochs:,} epochs (--epoch-budget)"
    if budget.patience is not None and spent.still >= budget.patience:
        return f"{budget.patience} fully trained trials in a row without a larger hypervolume (--patience)"
    return None


def left(budget: Budget, spent: Spent) -> BudgetLeft:
    """Returns what is left of each bound, never below zero."""
    return BudgetLeft(
        time_s=None if budget.time_s is None else max(budget.time_s - spent.time_s, 0.0),
        epochs=None if budget.epochs is None else max(budget.epochs - spent.epochs, 0),
        patience=None if budget.patience is None else max(budget.patience - spent.still, 0),
    )


def spent_seconds(events: Iterable[Mapping[str, Any]]) -> float:
    """Returns the seconds of searching that a run's events tell of, over all its sessions.

    Args:
        events: In the order in which they were written; those without a kind and a time are passed over.
    """
    total = 0.0
    since: datetime | None = None
    last: datetime | None = None
    for event in events:
        kind = event.get("event")
        if kind not in WITHIN or (since is None and kind != BEGIN):
            continue
        try:
            now = datetime.fromisoformat(event["time"])
        except (KeyError, TypeError, ValueError):
            continue
        if kind == BEGIN:
            total += _seconds_between(since, last)
            since = now
        last = now
        if kind == END:
            total += _seconds_between(since, last)
            since = None
    return total + _seconds_between(since, last)


def _seconds_between(since: datetime | None, last: datetime | None) -> float:
    # A clock that was set back between two events takes no time away.
    return max((last - since).total_seconds(), 0.0) if since is not None and last is not None else 0.0


class FrontGrowth:
    """Counts the fully trained trials since the front's hypervolume last grew.

    Args:
        objectives: M objectives.
        reference: Bound of the hypervolume [M], in the objectives' own units (`analysis.pareto.reference_point`).

    Attributes:
        still: Fully trained trials since it last grew.
        hypervolume: Of all trials so far, as `ParetoFront.hypervolume`.
    """

    def __init__(self, objectives: Sequence[Objective], reference: Sequence[float]) -> None:
        self._objectives = tuple(objectives)
        self._reference = self._minimised(reference)
        self._front: Floats = np.empty((0, len(self._objectives)))
        self.hypervolume = 0.0
        self.still = 0

    def ended(self, record: TrialRecord) -> None:
        """Takes an ended trial; one that is not fully trained changes nothing."""
        if record.status is TrialStatus.COMPLETE:
            sources = {"cost": record.cost, "quality": record.metrics}
            self.add([float(getattr(sources[one.kind], one.name)) for one in self._objectives])

    def add(self, values: Sequence[float]) -> None:
        """Takes a fully trained trial's values, in the objectives' own units."""
        points = np.vstack([self._front, self._minimised(values)])
        volume = hypervolume(points, self._reference)
        grown = volume > self.hypervolume * (1.0 + 1e-12)
        self._front, self.hypervolume = points[non_dominated_mask(points)], max(volume, self.hypervolume)
        self.still = 0 if grown else self.still + 1

    def _minimised(self, values: Sequence[float]) -> Floats:
        pairs = zip(values, self._objectives, strict=True)
        return np.concatenate([coordinates(np.array([float(value)]), objective) for value, objective in pairs])


class BudgetWatch:
    """Keeps count of what a search has had, and says when that is enough.

    Args:
        budget: Its bounds.
        growth: Counts for `budget.patience`; None when there is no such bound.
        spent_s: Seconds of searching in earlier sessions.
        clock: Tells seconds; this session began when the watch was made.
    """

    def __init__(
        self,
        budget: Budget,
        *,
        growth: FrontGrowth | None = None,
        spent_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.budget = budget
        self._growth = growth
        self._clock = clock
        self._began = clock() - spent_s
        self._epochs = 0

    def ended(self, record: TrialRecord) -> None:
        """Takes note of an ended trial, in the order in which they ended."""
        self._epochs += record.epochs
        if self._growth is not None:
            self._growth.ended(record)

    def spent(self, *, trials: int, epochs_in_flight: int) -> Spent:
        """Returns what the search has had.

        Args:
            trials: Handed out.
            epochs_in_flight: Epochs that trials in flight have trained.
        """
        return Spent(
            trials=trials,
            time_s=self._clock() - self._began,
            epochs=self._epochs + epochs_in_flight,
            still=0 if self._growth is None else self._growth.still,
        )


def watch_budget(
    budget: Budget, objectives: Sequence[Objective], teacher: TeacherRecord, events: Iterable[Mapping[str, Any]]
) -> BudgetWatch:
    """Returns a watch over a run's budget that goes on where its earlier sessions ended.

    Args:
        budget: Its bounds.
        objectives: Of the search.
        teacher: Decides the hypervolume's reference point.
        events: Of the run, see `spent_seconds`.
    """
    growth = None
    if budget.patience is not None:
        growth = FrontGrowth(objectives, reference_point(teacher, objectives))
    return BudgetWatch(budget, growth=growth, spent_s=spent_seconds(events))
