"""Where a search stands: counts, the best student per size band, and the time left. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from nas_distill.objectives import get_objective
from nas_distill.progress import BudgetLeft, SearchStatus, SizeBand
from nas_distill.records import TrialRecord, TrialStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedTrial:
    """What the status needs to know of a trial that has ended.

    Attributes:
        number: Optuna's trial number.
        status: How it ended.
        num_params: Size of its student.
        quality: Value of the first quality objective; None unless the trial is complete.
        epochs: Epochs trained.
        epochs_here: Epochs trained since this process began searching; 0 for a trial found on resuming.
    """

    number: int
    status: TrialStatus
    num_params: int
    quality: float | None
    epochs: int
    epochs_here: int

    @classmethod
    def from_record(cls, record: TrialRecord, *, quality: str, epochs_here: int | None = None) -> Self:
        """Returns what the status needs of `record`.

        Args:
            record: The ended trial.
            quality: Name of the first quality objective, a field of the student's metrics.
            epochs_here: Epochs trained since this process began searching; all of them by default.
        """
        return cls(
            number=record.number,
            status=record.status,
            num_params=record.cost.num_params,
            quality=None if record.metrics is None else float(getattr(record.metrics, quality)),
            epochs=record.epochs,
            epochs_here=record.epochs if epochs_here is None else epochs_here,
        )


def search_status(
    *,
    total: int | None,
    quality: str,
    ended: Sequence[EndedTrial],
    running: Mapping[int, tuple[int, int]],
    refused: int,
    elapsed_s: float,
    inherited: int = 0,
    left: BudgetLeft = BudgetLeft(),  # noqa: B008 - it is frozen
) -> SearchStatus:
    """Returns where the search stands.

    Args:
        total: Trials to train, those found on resuming included; None where another budget is the bound.
        quality: Name of the first quality objective.
        ended: Every trial that has ended, those found on resuming included.
        running: Number of each trial in flight with epochs done and epochs in all.
        refused: Candidates refused before training.
        elapsed_s: Seconds since this process began searching.
        inherited: Epochs of the running trials that earlier processes trained.
        left: What is left of the other budgets.
    """
    count = {status: sum(trial.status is status for trial in ended) for status in TrialStatus}
    return SearchStatus(
        total=total,
        complete=count[TrialStatus.COMPLETE],
        stopped=count[TrialStatus.STOPPED],
        failed=count[TrialStatus.FAILED],
        running=dict(running),
        refused=refused,
        bands=size_bands(ended, quality=quality),
        quality=quality,
        elapsed_s=elapsed_s,
        remaining_s=remaining_seconds(
            total=total, ended=ended, running=running, elapsed_s=elapsed_s, inherited=inherited, left=left
        ),
        left=left,
    )


def size_bands(ended: Iterable[EndedTrial], *, quality: str) -> tuple[SizeBand, ...]:
    """Returns the best student per half decade of parameters, from the smallest band seen to the largest.

    A band in between without a complete student is listed too, without a value: it is a hole in the search.
    """
    objective = get_objective(quality)
    trials = list(ended)
    if not trials:
        return ()
    best: dict[int, tuple[float, EndedTrial]] = {}
    for trial in trials:
        if trial.quality is not None:
            band, value = _band(trial.num_params), objective.minimised(trial.quality)
            if band not in best or value < best[band][0]:
                best[band] = (value, trial)
    bands = [_band(trial.num_params) for trial in trials]
    return tuple(
        SizeBand(
            label=f"{_edge(band)}-{_edge(band + 1)}",
            best_quality=best[band][1].quality if band in best else None,
            number=best[band][1].number if band in best else None,
        )
        for band in range(min(bands), max(bands) + 1)
    )


def remaining_seconds(
    *,
    total: int | None,
    ended: Sequence[EndedTrial],
    running: Mapping[int, tuple[int, int]],
    elapsed_s: float,
    inherited: int = 0,
    left: BudgetLeft = BudgetLeft(),  # noqa: B008 - it is frozen
) -> float | None:
    """Returns an estimate of the seconds left; None before the first trial of this process ends, or without a bound.

    Epochs still to train, over epochs per second so far. A trial not yet begun is expected to take the mean
    of those that ended here, so trials that stop early or fail shorten the estimate. The budget that is expected to be
    reached first ends it, and what is in flight then goes on.
    """
    here = [trial for trial in ended if trial.epochs_here > 0]
    if not here or elapsed_s <= 0:
        return None
    expected = sum(trial.epochs for trial in here) / len(here)
    in_flight = sum(max(0, epochs - done) for done, epochs in running.values())
    trained = sum(trial.epochs_here for trial in here) + sum(done for done, _ in running.values()) - inherited
    epoch_s = elapsed_s / trained
    bounds = []
    if total is not None:
        bounds.append(max(0, total - len(ended) - len(running)) * expected * epoch_s)
    if left.epochs is not None:
        bounds.append(max(0, left.epochs - in_flight) * epoch_s)
    if left.time_s is not None:
        bounds.append(max(0.0, left.time_s - in_flight * epoch_s))
    return min(bounds) + in_flight * epoch_s if bounds else None


def _band(num_params: int) -> int:
    return math.floor(2 * math.log10(num_params))


def _edge(band: int) -> str:
    value = 10 ** (band / 2)
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale * 0.999:
            return f"{value / scale:.2g}{unit}" if value / scale < 100 else f"{round(value / scale, -1):.0f}{unit}"
    return f"{value:.2g}" if value < 100 else f"{round(value, -1):.0f}"
