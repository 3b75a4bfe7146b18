"""Which of the confirmed students stand on the front, and at its knee, when their qualities are uncertain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas_distill.analysis.confirm.arms import arm_metrics
from nas_distill.analysis.front.arithmetic import Floats, coordinates, knee_index, non_dominated_mask
from nas_distill.objectives import Objective
from nas_distill.records import StudentMetrics, TrialRecord

RESAMPLES = 2000
LEAST_REPETITIONS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontOdds:
    """Shares of the resamples.

    Attributes:
        numbers: Trials of the students that were resampled, ascending: those with two repetitions or more.
        on_front: Share in which each stands on the front of the confirmed students.
        at_knee: Share in which each is the front's knee; their sum is 1. Of equal students the cheapest is.
        resamples: How many.
    """

    numbers: tuple[int, ...]
    on_front: tuple[float, ...]
    at_knee: tuple[float, ...]
    resamples: int


def front_odds(
    records: Iterable[TrialRecord],
    objectives: Sequence[Objective],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> FrontOdds:
    """Returns how likely each confirmed student is to stand on the front of the confirmed students.

    Bootstrap over repetitions (Efron 1979): costs are fixed, a resample draws repetitions with replacement, for all
    students the same ones where they have them (one that has none of a resample's keeps its mean), since they share
    images and seeds. Means of R draws spread less than means of R seeds by sqrt((R - 1) / R); deviations are
    stretched by its inverse.

    Args:
        records: All of a confirm; the arm "taught" counts.
        objectives: Of the search, M.
        resamples: At least 1.
        seed: Of the resamples.
    """
    by_number: dict[int, list[TrialRecord]] = {}
    for record in records:
        if record.confirmation is not None:
            by_number.setdefault(record.number, []).append(record)
    arms = {number: arm_metrics(own, "distilled") for number, own in sorted(by_number.items())}
    arms = {number: arm for number, arm in arms.items() if len(arm) >= LEAST_REPETITIONS}
    if not arms:
        return FrontOdds(numbers=(), on_front=(), at_knee=(), resamples=resamples)
    repetitions = sorted(set().union(*arms.values()))
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(len(repetitions), np.full(len(repetitions), 1 / len(repetitions)), size=resamples)
    values = np.empty((resamples, len(arms), len(objectives)))
    for place, (number, arm) in enumerate(arms.items()):
        columns = [repetitions.index(repetition) for repetition in arm]
        for axis, objective in enumerate(objectives):
            if objective.kind == "cost":
                cost = getattr(by_number[number][0].cost, objective.name)
                means = np.full(resamples, np.nan if cost is None else float(cost))
            else:
                means = _resampled(_qualities(arm, objective), draws[:, columns])
            values[:, place, axis] = coordinates(means, objective)
    on_front, at_knee = _tally(values, [objective.kind == "cost" for objective in objectives])
    return FrontOdds(
        numbers=tuple(arms),
        on_front=tuple((on_front / resamples).tolist()),
        at_knee=tuple((at_knee / resamples).tolist()),
        resamples=resamples,
    )


def _qualities(arm: dict[int, StudentMetrics], objective: Objective) -> Floats:
    return np.array([float(getattr(metrics, objective.name)) for metrics in arm.values()])


def _resampled(values: Floats, draws: NDArray[np.int64]) -> Floats:
    """Returns the mean of `values` [R] under each row of counts [B, R], deviations stretched by sqrt(R / (R - 1))."""
    totals = draws.sum(axis=1)
    mean = values.mean()
    means = np.divide(draws @ values, totals, out=np.full(len(draws), mean), where=totals > 0)
    stretched: Floats = mean + (means - mean) * np.sqrt(len(values) / (len(values) - 1))
    return stretched


def _tally(values: Floats, is_cost: Sequence[bool]) -> tuple[Floats, Floats]:
    """Returns in how many of the resamples [B, N, M] each student stands on the front, and at its knee, [N]."""
    on_front, at_knee = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    cost = list(is_cost).index(True)
    for resample in values:
        # The cheapest first, as in `front.pareto_front`.
        members = np.flatnonzero(non_dominated_mask(resample))
        members = members[np.argsort(resample[members, cost], kind="stable")]
        on_front[members] += 1
        if len(members):
            at_knee[members[knee_index(resample[members])]] += 1
    return on_front, at_knee
