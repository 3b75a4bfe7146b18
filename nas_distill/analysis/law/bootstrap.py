"""How sure a capacity law is: a bootstrap of its curves, and how new students spread around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import linregress, norm, t

from nas_distill.analysis.law.fit import Curves, Sample, draw_counts, fit, resampled

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

MOST_RESAMPLED = 1000
"""Rows of a resample; of more students a subsample of that many is resampled."""

LEAST_OF_A_FAMILY = 30
"""Rows that a family keeps in that subsample, if it has them."""

LEAST_FOR_OWN_SPREAD = 40
"""Students of a family whose spread is its own; those of smaller families share theirs."""

_PAIRS = 2000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spread:
    """How students spread around a curve, by students that were not in the resample that the curve was fitted to.

    Attributes:
        resamples: Which of the R curves was missed [P].
        distances: By how many points at the reference size [P].
        decay: Spread is exp(decay log(size / reference)) times that at the reference size.
    """

    resamples: Rows
    distances: Floats
    decay: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bootstrap:
    """A law and what its resamples came to.

    Attributes:
        law: Of all students, R = 1.
        draws: Of R resamples.
        spreads: One per curve [G].
    """

    law: Curves
    draws: Curves
    spreads: tuple[Spread, ...]


def expanded_tail(level: float, students: int, parameters: int) -> float:
    """Returns the share of resamples to leave out at each end of an interval.

    Percentile intervals of few students are too narrow; the expanded ones (Hesterberg 2015, Am. Stat. 69)
    are as wide as Student's t asks for: the tail is Phi(-sqrt(n / (n - p)) t(1 - (1 - level) / 2; n - p)).
    """
    freedom = max(1, students - parameters)
    return float(norm.cdf(-np.sqrt(students / freedom) * t.ppf(0.5 + level / 2.0, freedom)))


def bootstrap_law(sample: Sample, strata: Sequence[Rows], *, resamples: int, seed: int) -> Bootstrap:
    """Returns the law of a sample with R resamples, each stratum drawn on its own.

    Pairs of size and gap are drawn (Efron 1979). Of more than `MOST_RESAMPLED` students a subsample is resampled, and
    the draws' distances from its own law are shrunk by sqrt(m / n), m of n students (as Politis, Romano and Wolf 1999,
    "Subsampling", do).

    Args:
        sample: N rows.
        strata: Rows of each family; together all N.
        resamples: R.
        seed: Of the draws.
    """
    generator = np.random.default_rng(seed)
    law = fit(sample)
    kept = _subsample(strata, generator)
    small, own_strata = _part(sample, strata, kept)
    counts = draw_counts(own_strata, len(kept), resamples, generator)
    own = law if small is sample else fit(small)
    draws = resampled(small, counts, own)
    spreads = _spreads(small, draws, counts, generator)
    if small is not sample:
        draws = _shrunk(law, own, draws, sample, small)
    return Bootstrap(law=law, draws=draws, spreads=spreads)


def new_students(draws: Curves, spread: Spread, logs: Floats, group: int) -> Floats:
    """Returns draws [P, K] of gaps of new students at log(size / reference) [K]: a resample's curve and a distance."""
    return draws.at(logs, group)[spread.resamples] + spread.distances[:, None] * np.exp(spread.decay * logs)


def _subsample(strata: Sequence[Rows], generator: np.random.Generator) -> Rows:
    total = sum(map(len, strata))
    if total <= MOST_RESAMPLED:
        return np.arange(total)
    parts = [
        generator.choice(
            rows, min(len(rows), max(LEAST_OF_A_FAMILY, round(len(rows) * MOST_RESAMPLED / total))), replace=False
        )
        for rows in strata
    ]
    return np.sort(np.concatenate(parts))


def _part(sample: Sample, strata: Sequence[Rows], kept: Rows) -> tuple[Sample, list[Rows]]:
    if len(kept) == len(sample.gaps):
        return sample, list(strata)
    place = np.full(len(sample.gaps), -1)
    place[kept] = np.arange(len(kept))

    def within(rows: Rows) -> Rows:
        found = place[rows]
        return found[found >= 0]

    groups = tuple(within(rows) for rows in sample.groups)
    part = replace(sample, groups=groups, logs=sample.logs[kept], gaps=sample.gaps[kept])
    return part, [within(rows) for rows in strata]


def _shrunk(law: Curves, small: Curves, draws: Curves, sample: Sample, part: Sample) -> Curves:
    shares = np.array([len(few) / len(all_) for few, all_ in zip(part.groups, sample.groups, strict=True)])
    factors = np.sqrt(shares)
    whole = np.sqrt(len(part.gaps) / len(sample.gaps))
    return Curves(
        floors=np.maximum(sample.floor, law.floors + factors * (draws.floors - small.floors)),
        rises=np.maximum(0.0, law.rises + factors * (draws.rises - small.rises)),
        exponents=law.exponents * (draws.exponents / small.exponents) ** whole,
    )


def _spreads(sample: Sample, draws: Curves, counts: Floats, generator: np.random.Generator) -> tuple[Spread, ...]:
    distances = []
    for group, rows in enumerate(sample.groups):
        missed = sample.gaps[rows] - draws.at(sample.logs[rows], group)
        distances.append(np.where(counts[:, rows] == 0.0, missed, np.nan))
    together = np.concatenate(distances[: sample.own], axis=1)
    logs = np.concatenate([sample.logs[rows] for rows in sample.groups[: sample.own]])
    shared = _spread(together, logs, generator)
    return tuple(
        _spread(own, sample.logs[rows], generator)
        if len(rows) >= LEAST_FOR_OWN_SPREAD or group >= sample.own
        else shared
        for group, (own, rows) in enumerate(zip(distances, sample.groups, strict=True))
    )


def _spread(distances: Floats, logs: Floats, generator: np.random.Generator) -> Spread:
    """Returns the spread of distances [R, N], NaN where a row was in the resample."""
    decay = _decay(distances, logs)
    resamples, rows = np.nonzero(~np.isnan(distances))
    chosen = generator.integers(0, len(resamples), size=_PAIRS)
    resamples, rows = resamples[chosen], rows[chosen]
    return Spread(resamples=resamples, distances=distances[resamples, rows] / np.exp(decay * logs[rows]), decay=decay)


def _decay(distances: Floats, logs: Floats) -> float:
    """Returns the slope of log |distance| on log size (Harvey 1976, Econometrica 44), shrunk towards 0 by its error.

    The factor is max(0, 1 - (error / slope)^2), as James and Stein shrink: a slope that is not told apart from 0 is 0.
    """
    known = ~np.isnan(distances)
    seen = known.any(axis=0)
    mean = np.where(known, distances, 0.0).sum(axis=0)[seen] / known.sum(axis=0)[seen]
    sizes = np.abs(mean)
    least = 0.05 * float(np.median(sizes))
    if least == 0.0 or np.ptp(logs[seen]) == 0.0 or len(mean) < 3:
        return 0.0
    found = linregress(logs[seen], np.log(np.maximum(sizes, least)))
    slope, error = float(found.slope), float(found.stderr)
    return slope * max(0.0, 1.0 - (error / slope) ** 2) if slope else 0.0
