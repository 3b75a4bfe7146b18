"""Results of `benchmarks.initial_weights`: paired differences to random weights, tables and verdicts."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.common.program import Column, Table, Verdict
from benchmarks.initial_weights.starts import RANDOM, StartResult
from nas_distill.analysis.stats import Estimate, t_interval

LARGE = 0.05
"""Share of the teacher's parameters above which a quarter of the epochs should suffice."""

COLUMNS = (
    Column("start", "start"),
    Column("epochs", "epochs", "{:d}"),
    Column("gap_points", "gap, points", "{:.2f}"),
    Column("gain_points", "gain, equal epochs", "{:+.2f}", "gain_points_interval"),
    Column("better", "better/worse", "{}"),
    Column("worst_points", "worst student", "{:+.2f}"),
    Column("full_points", "gain over random, all epochs", "{:+.2f}", "full_points_interval"),
    Column("start_percent", "top-1 before training, %", "{:.1f}"),
    Column("copied_percent", "parameters copied, %", "{:.1f}"),
    Column("trainings", "trainings", "{:d}"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One finished training.

    Attributes:
        family: Name of the family.
        student: Number of the student in its family.
        share: Parameters of the student, as a share of the teacher's.
        seed: Seed of the training.
        start: Name of the start.
        epochs: Number of epochs.
        result: Result.
    """

    family: str
    student: int
    share: float
    seed: int
    start: str
    epochs: int
    result: StartResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A start at a number of epochs against random weights, paired by student and seed.

    Attributes:
        gain: Points of accuracy gained over random weights after as many epochs; mean over students with its interval.
        full: The same over random weights after all epochs.
        by_student: Gain of each student after as many epochs, averaged over seeds.
    """

    gain: Estimate | None
    full: Estimate | None
    by_student: tuple[float, ...]


def compare(trainings: Sequence[Training], start: str, epochs: int, all_epochs: int) -> Comparison:
    """Return what a start is worth after some epochs, in points of accuracy."""
    equal = _gains(trainings, start, epochs, epochs)
    return Comparison(
        gain=t_interval(equal),
        full=t_interval(_gains(trainings, start, epochs, all_epochs)),
        by_student=tuple(equal),
    )


def _gains(trainings: Sequence[Training], start: str, epochs: int, random_epochs: int) -> list[float]:
    random = {(t.family, t.student, t.seed): t for t in trainings if t.start == RANDOM and t.epochs == random_epochs}
    found: dict[tuple[str, int], list[float]] = {}
    for training in trainings:
        control = random.get((training.family, training.student, training.seed))
        if training.start == start and training.epochs == epochs and control is not None:
            gain = 100 * (training.result.top1 - control.result.top1)
            found.setdefault((training.family, training.student), []).append(gain)
    return [statistics.fmean(gains) for gains in found.values()]


def comparison_table(title: str, trainings: Sequence[Training], starts: Iterable[str], all_epochs: int) -> Table:
    """Return one row for each start and number of epochs."""
    budgets = sorted({training.epochs for training in trainings})
    rows = []
    for start in starts:
        for epochs in budgets:
            chosen = [t for t in trainings if t.start == start and t.epochs == epochs]
            if chosen:
                rows.append(_row(start, epochs, chosen, compare(trainings, start, epochs, all_epochs)))
    return Table(title=title, columns=COLUMNS, rows=tuple(rows))


def _row(start: str, epochs: int, chosen: Sequence[Training], found: Comparison) -> dict[str, Any]:
    def mean(measure: Callable[[StartResult], float]) -> float:
        return statistics.fmean(measure(training.result) for training in chosen)

    row: dict[str, Any] = {
        "start": start,
        "epochs": epochs,
        "gap_points": mean(lambda result: result.gap_points),
        "start_percent": mean(lambda result: 100 * result.start_top1),
        "copied_percent": mean(lambda result: 100 * result.copied_share),
        "start_seconds": mean(lambda result: result.start_seconds),
        "trainings": len(chosen),
    }
    if start != RANDOM:
        better, worse = (sum(sign * gain > 0 for gain in found.by_student) for sign in (1, -1))
        row |= {"better": f"{better}/{worse}", "worst_points": min(found.by_student, default=None)}
        row |= _estimate("gain_points", found.gain)
    if (start, found.full) != (RANDOM, found.gain):
        row |= _estimate("full_points", found.full)
    return row


def _estimate(key: str, found: Estimate | None) -> dict[str, float | None]:
    if found is None:
        return {}
    return {key: found.mean, f"{key}_interval": found.half_width}


def verdicts(trainings: Sequence[Training], start: str, all_epochs: int) -> tuple[Verdict, ...]:
    """Return whether a start meets the targets, each with the numbers that decide it."""
    half, quarter = round(all_epochs / 2), round(all_epochs / 4)
    large = [training for training in trainings if training.share > LARGE]
    found = [
        _not_worse(f"{start}, half of the epochs against random weights at all",
                   compare(trainings, start, half, all_epochs).full),
        _not_worse(f"{start}, a quarter of the epochs against random weights at all, students above 5 % of the teacher",
                   compare(large, start, quarter, all_epochs).full),
    ]  # fmt: skip
    for epochs in (quarter, half, all_epochs):
        gain = compare(trainings, start, epochs, all_epochs).gain
        found.append(_not_worse(f"{start} against random weights, both {epochs} epochs", gain))
    return tuple(verdict for verdict in found if verdict is not None)


def _not_worse(text: str, found: Estimate | None) -> Verdict | None:
    if found is None:
        return None
    half_width = found.half_width or 0.0
    return Verdict(
        text=f"{text}: {found.mean:+.2f} +- {half_width:.2f} points, not worse beyond the interval",
        met=found.mean + half_width >= 0,
    )
