"""What long work tells its watcher: a protocol, a silent watcher and the status of a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeBand:
    """The best student so far in one band of sizes.

    Attributes:
        label: Such as "10k-32k".
        best_quality: Best value of the first quality objective in the band; None while no student there is done.
        number: Trial number of that student.
    """

    label: str
    best_quality: float | None
    number: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLeft:
    """What is left of a search's bounds beside the number of trials; None where there is no such bound.

    Attributes:
        time_s: Seconds of searching.
        epochs: Epochs to train.
        patience: Fully trained trials by which the front must have grown.
    """

    time_s: float | None = None
    epochs: int | None = None
    patience: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchStatus:
    """Where a search stands.

    Attributes:
        total: Trials to train; None where another budget is the bound.
        complete: Trials trained to full fidelity.
        stopped: Trials stopped by a scheduler.
        failed: Trials that failed.
        running: Number of each trial in flight with epochs done and epochs in all.
        rejected: Candidates refused before training.
        bands: Best student per size band, smallest first.
        quality: Name of the first quality objective.
        elapsed_s: Seconds since this process began searching.
        remaining_s: Estimate of the seconds left; None before the first trial ends.
        left: What is left of the other budgets.
    """

    total: int | None
    complete: int
    stopped: int
    failed: int
    running: dict[int, tuple[int, int]]
    rejected: int
    bands: tuple[SizeBand, ...]
    quality: str
    elapsed_s: float
    remaining_s: float | None
    left: BudgetLeft = BudgetLeft()


class Progress(Protocol):
    """A watcher of long work."""

    def event(self, kind: str, message: str) -> None:
        """Something happened that a person or a log wants to know, once."""

    def step(self, task: str, done: int, total: int, detail: str = "") -> None:
        """`task` has done `done` of `total` units; called often, `done == total` ends it."""

    def status(self, status: SearchStatus) -> None:
        """The search moved on."""


class NullProgress:
    """A watcher that does not look."""

    def event(self, kind: str, message: str) -> None:
        """Ignores the event."""

    def step(self, task: str, done: int, total: int, detail: str = "") -> None:
        """Ignores the step."""

    def status(self, status: SearchStatus) -> None:
        """Ignores the status."""
