"""Watching a search: `Callback` receives records, `Progress` receives texts for people.

Scripts derive from `Callback` and pass objects to `nas_distill.search(callbacks=[...])`. The command line and long
functions use `Progress`. Both are called in the driver process only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from nas_distill.errors import NasDistillError
    from nas_distill.records import EpochMetrics, TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochEnded:
    """A trial finished an epoch. Each epoch is reported once, in order, about a second after it ended.

    Attributes:
        number: Trial number.
        epochs: Epochs that the trial trains in total, if it is not stopped early.
        metrics: Losses and validation metrics of the epoch; `metrics.epoch` counts from 1.
    """

    number: int
    epochs: int
    metrics: EpochMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontChanged:
    """A trial entered the Pareto front of the fully trained students.

    Attributes:
        added: The trial.
        removed: Numbers of the trials that it dominates and that leave the front.
        numbers: Numbers of all trials on the new front, ascending.
    """

    added: TrialRecord
    removed: tuple[int, ...]
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchStarted:
    """A search, or a session of a resumed one, begins.

    Attributes:
        run: The run directory.
        objectives: Names of the objectives.
    """

    run: Path
    objectives: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchEnded:
    """A search, or a session of a resumed one, has ended.

    Attributes:
        run: The run directory.
        new_trials: Trials that ended in this session.
        interrupted: Whether Ctrl-C or SIGTERM ended it early; `nas_distill.resume` continues.
        error: The error that ended it, which the caller of `search` receives next; None without one.
    """

    run: Path
    new_trials: int
    interrupted: bool
    error: NasDistillError | None = None


class Callback:
    """Base class of callbacks: override the methods that you need.

    All methods are called in the driver process, one at a time; the search waits for them, so they should be fast. An
    exception in a callback never harms the search: the first one of each method is shown as a warning, and the search
    goes on. To stop a search, raise `KeyboardInterrupt`; it can be resumed.
    """

    def on_search_start(self, event: SearchStarted) -> None:
        """React to the start of a search or of a resumed session."""

    def on_epoch_end(self, event: EpochEnded) -> None:
        """React to the end of an epoch of a trial."""

    def on_trial_end(self, record: TrialRecord) -> None:
        """React to the end of a trial: complete, stopped early or failed. Its record is in the study already."""

    def on_front_change(self, event: FrontChanged) -> None:
        """React to a new Pareto front; called after `on_trial_end` of the trial that entered it."""

    def on_search_end(self, event: SearchEnded) -> None:
        """React to the end of a search or of a resumed session, an error included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeBand:
    """The best student so far in one band of sizes.

    Attributes:
        label: Bounds of the band in parameters, such as "10k-32k".
        best_quality: Best value of the first quality objective in the band; None while no student there is complete.
        number: Trial number of that student.
        initial_weights: Weights that it started from (`StudentSpec.initial_weights`); None if they are unknown.
    """

    label: str
    best_quality: float | None
    number: int | None
    initial_weights: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLeft:
    """What is left of the budgets other than the number of trials; None for a budget that is not set.

    Attributes:
        time_s: Search time, seconds.
        epochs: Epochs to train.
        patience: Fully trained trials within which the front must improve.
    """

    time_s: float | None = None
    epochs: int | None = None
    patience: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchStatus:
    """The state of a running search.

    Attributes:
        total: Trials to train; None if only another budget limits the search.
        complete: Number of fully trained trials.
        stopped: Number of trials that early stopping ended.
        failed: Number of failed trials.
        queued: Number of trials that wait for a worker.
        running: Number of each running trial -> epochs done, epochs in total.
        rejected: Candidates rejected before training.
        bands: Best student per size band, smallest first.
        quality: Name of the first quality objective.
        elapsed_s: Seconds since this session began.
        remaining_s: Estimated seconds left; None before the first trial ends.
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
    queued: int = 0


class Progress(Protocol):
    """Receives the progress of long work."""

    def event(self, kind: str, message: str) -> None:
        """Receive one line about something that happened once."""

    def step(self, task: str, done: int, total: int, detail: str = "") -> None:
        """Receive how far `task` is, in units of work; called often, the last time with `done == total`."""

    def status(self, status: SearchStatus) -> None:
        """Receive the state of the search."""

    def epoch_ended(self, event: EpochEnded) -> None:
        """Receive the metrics of an epoch of a trial."""

    def trial_ended(self, record: TrialRecord) -> None:
        """Receive the record of an ended trial."""


class NullProgress:
    """Progress that is not shown."""

    def event(self, kind: str, message: str) -> None:
        """Ignore the event."""

    def step(self, task: str, done: int, total: int, detail: str = "") -> None:
        """Ignore the step."""

    def status(self, status: SearchStatus) -> None:
        """Ignore the status."""

    def epoch_ended(self, event: EpochEnded) -> None:
        """Ignore the epoch."""

    def trial_ended(self, record: TrialRecord) -> None:
        """Ignore the trial."""
