"""Calls the callbacks of a search, and keeps a failing callback from harming it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nas_distill.callbacks import (
    Callback,
    EpochEnded,
    FrontChanged,
    Progress,
    SearchEnded,
    SearchStarted,
    SearchStatus,
)
from nas_distill.objectives import Objective
from nas_distill.records import TrialRecord


class CallbackProgress:
    """Progress that calls callbacks and passes everything on to another progress.

    Args:
        callbacks: The callbacks, called in this order.
        shown: Progress that shows the texts.

    Attributes:
        new_trials: Trials that have ended so far in this session.
    """

    def __init__(self, callbacks: Sequence[Callback], shown: Progress) -> None:
        self._callbacks = tuple(callbacks)
        self._shown = shown
        self._warned: set[tuple[int, str]] = set()
        self._last_epoch: dict[int, int] = {}
        self._front: _Front | None = None
        self.new_trials = 0

    def search_started(
        self, run: Path, objectives: Sequence[Objective], front: Mapping[int, Sequence[float]] | None = None
    ) -> None:
        """Call `on_search_start`.

        Args:
            run: The run directory.
            objectives: Objectives of the search.
            front: Pareto front of earlier sessions: trial number -> values of the objectives, in their own units.
        """
        self._front = _Front(objectives, front or {})
        event = SearchStarted(run=run, objectives=tuple(objective.name for objective in objectives))
        self._call("on_search_start", lambda callback: callback.on_search_start(event))

    def search_ended(self, event: SearchEnded) -> None:
        """Call `on_search_end`."""
        self._call("on_search_end", lambda callback: callback.on_search_end(event))

    def event(self, kind: str, message: str) -> None:
        """Pass the event on."""
        self._shown.event(kind, message)

    def step(self, task: str, done: int, total: int, detail: str = "") -> None:
        """Pass the step on."""
        self._shown.step(task, done, total, detail)

    def status(self, status: SearchStatus) -> None:
        """Pass the status on."""
        self._shown.status(status)

    def epoch_ended(self, event: EpochEnded) -> None:
        """Call `on_epoch_end`, unless the epoch was reported before: after a worker's death epochs are repeated."""
        self._shown.epoch_ended(event)
        if event.metrics.epoch > self._last_epoch.get(event.number, 0):
            self._last_epoch[event.number] = event.metrics.epoch
            self._call("on_epoch_end", lambda callback: callback.on_epoch_end(event))

    def trial_ended(self, record: TrialRecord) -> None:
        """Call `on_trial_end`, then `on_front_change` if the trial enters the front."""
        self.new_trials += 1
        self._shown.trial_ended(record)
        self._call("on_trial_end", lambda callback: callback.on_trial_end(record))
        change = None if self._front is None else self._front.add(record)
        if change is not None:
            self._call("on_front_change", lambda callback: callback.on_front_change(change))

    def _call(self, method: str, call: Callable[[Callback], None]) -> None:
        for index, callback in enumerate(self._callbacks):
            try:
                call(callback)
            except Exception as error:  # noqa: BLE001 - whatever a user's callback raises, results must not be lost
                if (index, method) in self._warned:
                    continue
                self._warned.add((index, method))
                text = (
                    f"{type(callback).__name__}.{method} raised {type(error).__name__}: {error}; the search goes on, "
                    "and further exceptions of this method are not shown"
                )
                warnings.warn(text, RuntimeWarning, stacklevel=2)
                self._shown.event("warning", text)


class _Front:
    """The Pareto front of the fully trained students so far.

    Args:
        objectives: Objectives of the search.
        members: Trial number -> values of the objectives, in their own units.
    """

    def __init__(self, objectives: Sequence[Objective], members: Mapping[int, Sequence[float]]) -> None:
        self._objectives = tuple(objectives)
        self._members = {number: self._minimised(values) for number, values in members.items()}

    def add(self, record: TrialRecord) -> FrontChanged | None:
        """Add a trial and return the change of the front; None without a change. Trials of equal values all stay."""
        if record.metrics is None:
            return None
        values = self._minimised(
            [
                float(getattr(record.metrics if objective.kind == "quality" else record.cost, objective.name))
                for objective in self._objectives
            ]
        )
        if any(_dominates(other, values) for other in self._members.values()):
            return None
        removed = tuple(sorted(number for number, other in self._members.items() if _dominates(values, other)))
        for number in removed:
            del self._members[number]
        self._members[record.number] = values
        return FrontChanged(added=record, removed=removed, numbers=tuple(sorted(self._members)))

    def _minimised(self, values: Sequence[float]) -> tuple[float, ...]:
        return tuple(one.minimised(value) for one, value in zip(self._objectives, values, strict=True))


def _dominates(values: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return values != other and all(one <= two for one, two in zip(values, other, strict=True))
