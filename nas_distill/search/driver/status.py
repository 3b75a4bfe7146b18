"""Where a search stands: counts, the best student per size band, and the time left. Pure.

All is summed up as trials end, so that a report costs as little in a search of thousands as in one of ten.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from nas_distill.callbacks import BudgetLeft, SearchStatus, SizeBand
from nas_distill.objectives import get_objective
from nas_distill.records import TrialRecord, TrialStatus


class Tally:
    """The trials of a search that have ended, summed up.

    Args:
        quality: Name of the first quality objective, a field of metrics and of curves.
    """

    def __init__(self, quality: str) -> None:
        self.quality = quality
        self._count: Counter[TrialStatus] = Counter()
        self._bands: dict[int, _Best | None] = {}
        self._here = 0
        self._epochs_of_those = 0
        self._epochs_here = 0

    def __len__(self) -> int:
        return self._count.total()

    def add(self, record: TrialRecord, *, epochs_here: int) -> None:
        """Adds an ended trial.

        Args:
            record: The trial.
            epochs_here: Epochs trained since this process began searching; 0 for a trial found on resuming.
        """
        self._count[record.status] += 1
        band = _band(record.cost.num_params)
        best = self._bands.setdefault(band, None)
        if record.metrics is not None:
            value = float(getattr(record.metrics, self.quality))
            minimised = get_objective(self.quality).minimised
            if best is None or minimised(value) < minimised(best.quality):
                self._bands[band] = _Best(value, record.number)
        if epochs_here > 0:
            self._here += 1
            self._epochs_of_those += record.epochs
            self._epochs_here += epochs_here

    def bands(self) -> tuple[SizeBand, ...]:
        """Returns the best student per half decade of parameters, from the smallest band seen to the largest.

        A band in between without a complete student is listed too, without a value: it is a hole in the search.
        """
        if not self._bands:
            return ()
        found = []
        for band in range(min(self._bands), max(self._bands) + 1):
            best = self._bands.get(band)
            label = f"{_edge(band)}-{_edge(band + 1)}"
            number, quality = (None, None) if best is None else (best.number, best.quality)
            found.append(SizeBand(label=label, best_quality=quality, number=number))
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
        """Returns an estimate of the seconds left; None while there is nothing to estimate it from, or unbounded.

        Epochs still to train, over epochs per second so far. A trial not yet begun is expected to take the mean
        of those that ended here, so trials that stop early or fail shorten the estimate. The budget that is expected
        to be reached first ends it, and what is in flight then goes on. Arguments as for `status`.
        """
        if self._here == 0 or elapsed_s <= 0:
            return None
        expected = self._epochs_of_those / self._here
        in_flight = sum(max(0, epochs - done) for done, epochs in running.values())
        trained = self._epochs_here + sum(done for done, _ in running.values()) - inherited
        if trained <= 0:
            return None  # a resumed trial went back to a checkpoint that lies further behind than anything was trained
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
        rejected: int,
        elapsed_s: float,
        inherited: int = 0,
        left: BudgetLeft = BudgetLeft(),  # noqa: B008 - it is frozen
    ) -> SearchStatus:
        """Returns where the search stands.

        Args:
            total: Trials to train, those found on resuming included; None where another budget is the bound.
            running: Number of each trial in flight with epochs done and epochs in all.
            rejected: Candidates refused before training.
            elapsed_s: Seconds since this process began searching.
            inherited: Epochs of the running trials that earlier processes trained.
            left: What is left of the other budgets.
        """
        return SearchStatus(
            total=total,
            complete=self._count[TrialStatus.COMPLETE],
            stopped=self._count[TrialStatus.STOPPED],
            failed=self._count[TrialStatus.FAILED],
            running=dict(running),
            rejected=rejected,
            bands=self.bands(),
            quality=self.quality,
            elapsed_s=elapsed_s,
            remaining_s=self.remaining_seconds(
                total=total, running=running, elapsed_s=elapsed_s, inherited=inherited, left=left
            ),
            left=left,
        )


class _Best(NamedTuple):
    quality: float
    number: int


def end_text(record: TrialRecord, *, quality: str) -> str:
    """Returns how a trial ended, as one line.

    Args:
        record: The ended trial.
        quality: Name of the first quality objective, a field of metrics and of curves.
    """
    size = f"{record.spec.family}, {record.cost.num_params:,} parameters"
    if record.assistant is not None:
        size += f", taught by trial {record.assistant}"
    took = f"{record.wall_time_s:.1f} s"
    if record.metrics is not None:
        return f"trial {record.number}: {quality} {getattr(record.metrics, quality):.3g}, {size}, {took}"
    if record.status is TrialStatus.STOPPED:
        last = getattr(record.curve[-1], quality) if record.curve else None
        stood = "" if last is None else f" at {quality} {last:.3g}"
        return f"trial {record.number} stopped after epoch {record.epochs}{stood}, {size}, {took}"
    return f"trial {record.number} {record.status.value}: {record.error} ({size})"


def _band(num_params: int) -> int:
    return math.floor(2 * math.log10(num_params))


def _edge(band: int) -> str:
    value = 10 ** (band / 2)
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale * 0.999:
            return f"{value / scale:.2g}{unit}" if value / scale < 100 else f"{round(value / scale, -1):.0f}{unit}"
    return f"{value:.2g}" if value < 100 else f"{round(value, -1):.0f}"
