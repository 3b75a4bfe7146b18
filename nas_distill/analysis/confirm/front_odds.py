"""Estimate how likely each confirmed student is to be on the front, and to be its knee."""

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
MIN_REPETITIONS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontOdds:
    """Shares of the resamples in which each student is on the front, and is its knee.

    Attributes:
        numbers: Trial numbers of the resampled students, ascending: those with two repetitions or more.
        on_front: Share of the resamples in which each is on the front of the confirmed students, 0 to 1.
        at_knee: Share in which each is the knee of that front, 0 to 1; their sum is 1. The cheapest of equal students
            counts as the knee.
        resamples: Number of resamples.
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
    """Return how likely each confirmed student is to be on the front of the confirmed students.

    A bootstrap over repetitions (Efron 1979). Costs are fixed. A resample draws repetitions with replacement, the same
    ones for all students, because they share images and seeds; a student without any of the drawn repetitions keeps
    its mean. Means of R draws vary less than means of R seeds, by the factor sqrt((R - 1) / R), so deviations are
    multiplied by its inverse.

    Args:
        records: Records of a confirmation; only the arm "distilled" counts.
        objectives: The M objectives of the search.
        resamples: Number of resamples, at least 1.
        seed: Seed of the resamples.
    """
    by_number: dict[int, list[TrialRecord]] = {}
    for record in records:
        if record.confirmation is not None:
            by_number.setdefault(record.number, []).append(record)
    arms = {number: arm_metrics(own, "distilled") for number, own in sorted(by_number.items())}
    arms = {number: arm for number, arm in arms.items() if len(arm) >= MIN_REPETITIONS}
    if not arms:
        return FrontOdds(numbers=(), on_front=(), at_knee=(), resamples=resamples)
    repetitions = sorted(set().union(*arms.values()))
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(len(repetitions), np.full(len(repetitions), 1 / len(repetitions)), size=resamples)
    values = np.empty((resamples, len(arms), len(objectives)))
    for index, (number, arm) in enumerate(arms.items()):
        columns = [repetitions.index(repetition) for repetition in arm]
        for axis, objective in enumerate(objectives):
            if objective.kind == "cost":
                cost = getattr(by_number[number][0].cost, objective.name)
                means = np.full(resamples, np.nan if cost is None else float(cost))
            else:
                means = _resampled(_qualities(arm, objective), draws[:, columns])
            values[:, index, axis] = coordinates(means, objective)
    on_front, at_knee = _counts(values, [objective.kind == "cost" for objective in objectives])
    return FrontOdds(
        numbers=tuple(arms),
        on_front=tuple((on_front / resamples).tolist()),
        at_knee=tuple((at_knee / resamples).tolist()),
        resamples=resamples,
    )


def _qualities(arm: dict[int, StudentMetrics], objective: Objective) -> Floats:
    return np.array([float(getattr(metrics, objective.name)) for metrics in arm.values()])


def _resampled(values: Floats, draws: NDArray[np.int64]) -> Floats:
    """Return the mean of `values` [R] under each row of counts [B, R], its deviation times sqrt(R / (R - 1))."""
    totals = draws.sum(axis=1)
    mean = values.mean()
    means = np.divide(draws @ values, totals, out=np.full(len(draws), mean), where=totals > 0)
    stretched: Floats = mean + (means - mean) * np.sqrt(len(values) / (len(values) - 1))
    return stretched


def _counts(values: Floats, is_cost: Sequence[bool]) -> tuple[Floats, Floats]:
    """Return in how many of the resamples [B, N, M] each student is on the front [N], and is its knee [N]."""
    on_front, at_knee = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    cost = list(is_cost).index(True)
    for resample in values:
        # Sorted by cost, as in `front.pareto_front`, so that the cheapest of equal students is the knee.
        members = np.flatnonzero(non_dominated_mask(resample))
        members = members[np.argsort(resample[members, cost], kind="stable")]
        on_front[members] += 1
        if len(members):
            at_knee[members[knee_index(resample[members])]] += 1
    return on_front, at_knee
