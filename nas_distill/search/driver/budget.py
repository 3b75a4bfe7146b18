"""Budgets of a search: trials, time, epochs, and patience with a front that does not grow. Pure but for a clock.

Time is the time of searching, summed over all sessions of a run: from each session's event `search` to its event `end`,
or, if the session was killed, to the last event that it wrote (`spent_seconds`). Time before (data, teacher) and after
(assistants, folds) does not count.
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
from nas_distill.config import BudgetConfig
from nas_distill.objectives import Objective
from nas_distill.records import TeacherRecord, TrialRecord, TrialStatus

BEGIN, END = "search", "end"
"""Kinds of the events that begin and end a session."""

INTERRUPTED = "interrupted"
"""Kind of the event that Ctrl-C or SIGTERM leaves, in whatever phase it comes."""

_TIMED_EVENTS = frozenset({BEGIN, END, "trial", "alive"})
"""Kinds of the events that are written during the time of searching."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a search has used of its budgets.

    Attributes:
        trials: Number of scheduled trials, those in flight included.
        time_s: Seconds of searching, over all sessions.
        epochs: Number of epochs trained, those of trials in flight included.
        trials_since_growth: Number of fully trained trials since the front last grew.
    """

    trials: int = 0
    time_s: float = 0.0
    epochs: int = 0
    trials_since_growth: int = 0


def reached(budget: BudgetConfig, spent: Spent) -> str | None:
    """Return which budget is reached, in words; None while some of each is left."""
    if budget.most_trials is not None and spent.trials >= budget.most_trials:
        return f"{budget.most_trials} trials (--trials)"
    if budget.time_s is not None and spent.time_s >= budget.time_s:
        return f"{duration(budget.time_s)} of searching (--time-budget)"
    if budget.epochs is not None and spent.epochs >= budget.epochs:
        return f"{budget.epochs:,} epochs (--epoch-budget)"
    if budget.patience is not None and spent.trials_since_growth >= budget.patience:
        return f"{budget.patience} fully trained trials in a row without a larger hypervolume (--patience)"
    return None


def left(budget: BudgetConfig, spent: Spent) -> BudgetLeft:
    """Return what is left of each budget, at least zero."""
    return BudgetLeft(
        time_s=None if budget.time_s is None else max(budget.time_s - spent.time_s, 0.0),
        epochs=None if budget.epochs is None else max(budget.epochs - spent.epochs, 0),
        patience=None if budget.patience is None else max(budget.patience - spent.trials_since_growth, 0),
    )


def spent_seconds(events: Iterable[Mapping[str, Any]]) -> float:
    """Return the seconds of searching over all sessions of a run.

    Args:
        events: Events of the run in the order in which they were written; those without a kind or a time are skipped.
    """
    total = 0.0
    since: datetime | None = None
    last: datetime | None = None
    for event in events:
        kind = event.get("event")
        if kind not in _TIMED_EVENTS or (since is None and kind != BEGIN):
            continue
        try:
            now = datetime.fromisoformat(event["time"])
        except (KeyError, TypeError, ValueError):
            continue
        if now.tzinfo is None:
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
    # At least zero: the clock may be set back between two events.
    return max((last - since).total_seconds(), 0.0) if since is not None and last is not None else 0.0


class FrontGrowth:
    """Counts the fully trained trials since the front's hypervolume last grew.

    Args:
        objectives: M objectives.
        reference: Reference point of the hypervolume [M], in the objectives' own units
            (`analysis.front.arithmetic.reference_point`).

    Attributes:
        trials_since_growth: Number of fully trained trials since the hypervolume last grew.
        hypervolume: Hypervolume of all fully trained trials, as in `ParetoFront.hypervolume`.
    """

    def __init__(self, objectives: Sequence[Objective], reference: Sequence[float]) -> None:
        self._objectives = tuple(objectives)
        self._reference = self._minimised(reference)
        self._front: Floats = np.empty((0, len(self._objectives)))
        self.hypervolume = 0.0
        self.trials_since_growth = 0

    def ended(self, record: TrialRecord) -> None:
        """Count an ended trial, if it was fully trained."""
        if record.status is TrialStatus.COMPLETE:
            sources = {"cost": record.cost, "quality": record.metrics}
            self.add([float(getattr(sources[one.kind], one.name)) for one in self._objectives])

    def add(self, values: Sequence[float]) -> None:
        """Count a fully trained trial by its values, in the objectives' own units."""
        points = np.vstack([self._front, self._minimised(values)])
        volume = hypervolume(points, self._reference)
        grown = volume > self.hypervolume * (1.0 + 1e-12)
        self._front, self.hypervolume = points[non_dominated_mask(points)], max(volume, self.hypervolume)
        self.trials_since_growth = 0 if grown else self.trials_since_growth + 1

    def _minimised(self, values: Sequence[float]) -> Floats:
        pairs = zip(values, self._objectives, strict=True)
        return np.concatenate([coordinates(np.array([float(value)]), objective) for value, objective in pairs])


class BudgetWatch:
    """Counts what a search uses of its budgets.

    Args:
        budget: The budgets.
        growth: Counts trials for `budget.patience`; None when there is no such budget.
        spent_s: Seconds of searching in earlier sessions.
        clock: Returns seconds; this session began when the watch was made.
    """

    def __init__(
        self,
        budget: BudgetConfig,
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
        """Count an ended trial. Call it in the order in which trials end."""
        self._epochs += record.epochs
        if self._growth is not None:
            self._growth.ended(record)

    def spent(self, *, trials: int, epochs_in_flight: int) -> Spent:
        """Return what the search has used.

        Args:
            trials: Number of scheduled trials.
            epochs_in_flight: Number of epochs that trials in flight have trained.
        """
        return Spent(
            trials=trials,
            time_s=self._clock() - self._began,
            epochs=self._epochs + epochs_in_flight,
            trials_since_growth=0 if self._growth is None else self._growth.trials_since_growth,
        )


def watch_budget(
    budget: BudgetConfig, objectives: Sequence[Objective], teacher: TeacherRecord, events: Iterable[Mapping[str, Any]]
) -> BudgetWatch:
    """Return a watch over a run's budgets that continues from its earlier sessions.

    Args:
        budget: The budgets.
        objectives: Objectives of the search.
        teacher: Teacher, on which the hypervolume's reference point depends.
        events: Events of the run, see `spent_seconds`.
    """
    growth = None
    if budget.patience is not None:
        growth = FrontGrowth(objectives, reference_point(teacher, objectives))
    return BudgetWatch(budget, growth=growth, spent_s=spent_seconds(events))
