"""State of a search: counts of trials, the best student per size band, and the time left. Pure.

Sums are updated as trials end, so that a status costs as little in a search of thousands of trials as in one of ten.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from nas_distill.analysis.initial_weights import describe_initial_weights
from nas_distill.callbacks import BudgetLeft, SearchStatus, SizeBand
from nas_distill.objectives import get_objective
from nas_distill.records import TrialRecord, TrialStatus


class TrialCounts:
    """Counts of the ended trials of a search, and the best of them.

    Args:
        quality: Name of the first quality objective, a field of metrics and of learning curves.
    """

    def __init__(self, quality: str) -> None:
        self.quality = quality
        self._count: Counter[TrialStatus] = Counter()
        self._bands: dict[int, _BestStudent | None] = {}
        self._trained_here = 0
        self._epochs_of_trained_here = 0
        self._epochs_here = 0

    def __len__(self) -> int:
        return self._count.total()

    def add(self, record: TrialRecord, *, epochs_here: int) -> None:
        """Add an ended trial.

        Args:
            record: The trial's record.
            epochs_here: Number of epochs trained since this process began searching; 0 for a trial of an earlier
                session.
        """
        self._count[record.status] += 1
        band = _band(record.cost.num_params)
        best = self._bands.setdefault(band, None)
        if record.metrics is not None:
            value = float(getattr(record.metrics, self.quality))
            minimised = get_objective(self.quality).minimised
            if best is None or minimised(value) < minimised(best.quality):
                self._bands[band] = _BestStudent(value, record.number, record.spec.initial_weights)
        if epochs_here > 0:
            self._trained_here += 1
            self._epochs_of_trained_here += record.epochs
            self._epochs_here += epochs_here

    def bands(self) -> tuple[SizeBand, ...]:
        """Return the best student per half decade of parameters, from the smallest band with a trial to the largest.

        A band in between without a complete student is listed without a value: it is a hole in the search.
        """
        if not self._bands:
            return ()
        found = []
        for band in range(min(self._bands), max(self._bands) + 1):
            best = self._bands.get(band)
            label = f"{_edge(band)}-{_edge(band + 1)}"
            if best is None:
                found.append(SizeBand(label=label, best_quality=None, number=None))
            else:
                found.append(
                    SizeBand(
                        label=label,
                        best_quality=best.quality,
                        number=best.number,
                        initial_weights=best.initial_weights,
                    )
                )
        return tuple(found)

    def remaining_seconds(
        self,
        *,
        total: int | None,
        running: Mapping[int, tuple[int, int]],
        elapsed_s: float,
        inherited: int = 0,
        left: BudgetLeft = BudgetLeft(),  # noqa: B008 - it is frozen
    ) -> float | None:
        """Return an estimate of the seconds left; None without data for it, or without a bound.

        The estimate is the number of epochs left over the epochs per second so far. A trial that has not begun is
        expected to take the mean number of epochs of the trials that ended in this process, so that trials that stop
        early or fail shorten the estimate. The budget that is expected to be reached first counts; trials in flight
        finish after it. Arguments as in `status`.
        """
        if self._trained_here == 0 or elapsed_s <= 0:
            return None
        expected = self._epochs_of_trained_here / self._trained_here
        in_flight = sum(max(0, epochs - done) for done, epochs in running.values())
        trained = self._epochs_here + sum(done for done, _ in running.values()) - inherited
        if trained <= 0:
            return None  # a resumed trial went back further, to its checkpoint, than all trials have advanced since
        epoch_s = elapsed_s / trained
        bounds = []
        if total is not None:
            bounds.append(max(0, total - len(self) - len(running)) * expected * epoch_s)
        if left.epochs is not None:
            bounds.append(max(0, left.epochs - in_flight) * epoch_s)
        if left.time_s is not None:
            bounds.append(max(0.0, left.time_s - in_flight * epoch_s))
        return min(bounds) + in_flight * epoch_s if bounds else None

    def status(
        self,
        *,
        total: int | None,
        running: Mapping[int, tuple[int, int]],
        queued: int = 0,
        rejected: int,
        elapsed_s: float,
        inherited: int = 0,
        left: BudgetLeft = BudgetLeft(),  # noqa: B008 - it is frozen
    ) -> SearchStatus:
        """Return the state of the search.

        Args:
            total: Number of trials to train, those of earlier sessions included; None where another budget is the
                bound.
            running: Trial number of each running trial to its epochs done and its epochs in total.
            queued: Number of trials that wait for a worker.
            rejected: Number of candidates that were rejected before training.
            elapsed_s: Seconds since this process began searching.
            inherited: Number of epochs of the running trials that earlier processes trained.
            left: What is left of the other budgets.
        """
        return SearchStatus(
            total=total,
            complete=self._count[TrialStatus.COMPLETE],
            stopped=self._count[TrialStatus.STOPPED],
            failed=self._count[TrialStatus.FAILED],
            running=dict(running),
            queued=queued,
            rejected=rejected,
            bands=self.bands(),
            quality=self.quality,
            elapsed_s=elapsed_s,
            remaining_s=self.remaining_seconds(
                total=total, running=running, elapsed_s=elapsed_s, inherited=inherited, left=left
            ),
            left=left,
        )


class _BestStudent(NamedTuple):
    quality: float
    number: int
    initial_weights: str | None


def end_text(record: TrialRecord, *, quality: str) -> str:
    """Return how a trial ended, as one line.

    Args:
        record: The trial's record.
        quality: Name of the first quality objective, a field of metrics and of learning curves.
    """
    size = f"{record.spec.family}, {record.cost.num_params:,} parameters"
    if record.assistant is not None:
        size += f", distilled from trial {record.assistant}"
    if not record.spec.starts_from_random:
        size += f", started from {describe_initial_weights(str(record.spec.initial_weights))}"
    took = f"{record.wall_time_s:.1f} s"
    if record.metrics is not None:
        return f"trial {record.number}: {quality} {getattr(record.metrics, quality):.3g}, {size}, {took}"
    if record.status is TrialStatus.STOPPED:
        last = getattr(record.curve[-1], quality) if record.curve else None
        value = "" if last is None else f" at {quality} {last:.3g}"
        return f"trial {record.number} stopped after epoch {record.epochs}{value}, {size}, {took}"
    return f"trial {record.number} {record.status.value}: {record.error} ({size})"


def _band(num_params: int) -> int:
    return math.floor(2 * math.log10(num_params))


def _edge(band: int) -> str:
    value = 10 ** (band / 2)
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale * 0.999:
            return f"{value / scale:.2g}{unit}" if value / scale < 100 else f"{round(value / scale, -1):.0f}{unit}"
    return f"{value:.2g}" if value < 100 else f"{round(value, -1):.0f}"
