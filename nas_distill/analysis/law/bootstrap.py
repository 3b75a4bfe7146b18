"""The uncertainty of a capacity law: a bootstrap of its curves, and the spread of new students around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import linregress

from nas_distill.analysis.law.fit import Curves, Sample, draw_counts, fit, resampled

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

MAX_RESAMPLED = 1000
"""Maximum number of students per resample. A larger run is subsampled to this size."""

MIN_OF_A_FAMILY = 30
"""Minimum number of students per family in the subsample; a smaller family keeps all of its students."""

MIN_FOR_OWN_SPREAD = 40
"""Fewest students of a family with a spread of its own. Smaller families share one spread."""

_PAIRS = 2000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spread:
    """The spread of students around a curve, measured on students outside the resample that the curve was fitted to.

    Attributes:
        resamples: Resample of each of P distances [P].
        distances: Distance from that resample's curve, scaled to the reference size, percentage points [P].
        decay: The spread at a size is exp(decay log(size / reference)) times that at the reference size.
    """

    resamples: Rows
    distances: Floats
    decay: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bootstrap:
    """A law and its resamples.

    Attributes:
        law: Law of all students, R = 1.
        draws: Laws of R resamples.
        spreads: Spread around each curve [G].
    """

    law: Curves
    draws: Curves
    spreads: tuple[Spread, ...]


def bootstrap_law(sample: Sample, strata: Sequence[Rows], *, resamples: int, seed: int) -> Bootstrap:
    """Fit the law of a sample and of R resamples, drawn within each stratum.

    A resample draws pairs of size and gap (Efron 1979). If there are n > `MAX_RESAMPLED` students, a subsample of m is
    resampled, and the deviations of the draws from its law are multiplied by sqrt(m / n) (Politis, Romano and Wolf
    1999, "Subsampling").

    Args:
        sample: Sample of N rows.
        strata: Rows of each family, together all N.
        resamples: R, number of resamples.
        seed: Seed of the draws.
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
    """Return draws [P, K] of gaps of new students at log(size / reference) [K]: a resample's curve plus a distance."""
    return draws.at(logs, group)[spread.resamples] + spread.distances[:, None] * np.exp(spread.decay * logs)


def _subsample(strata: Sequence[Rows], generator: np.random.Generator) -> Rows:
    total = sum(map(len, strata))
    if total <= MAX_RESAMPLED:
        return np.arange(total)
    parts = [
        generator.choice(
            rows, min(len(rows), max(MIN_OF_A_FAMILY, round(len(rows) * MAX_RESAMPLED / total))), replace=False
        )
        for rows in strata
    ]
    return np.sort(np.concatenate(parts))


def _part(sample: Sample, strata: Sequence[Rows], kept: Rows) -> tuple[Sample, list[Rows]]:
    if len(kept) == len(sample.gaps):
        return sample, list(strata)
    index = np.full(len(sample.gaps), -1)
    index[kept] = np.arange(len(kept))

    def within(rows: Rows) -> Rows:
        found = index[rows]
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
        _spread(own, sample.logs[rows], generator) if len(rows) >= MIN_FOR_OWN_SPREAD or group >= sample.own else shared
        for group, (own, rows) in enumerate(zip(distances, sample.groups, strict=True))
    )


def _spread(distances: Floats, logs: Floats, generator: np.random.Generator) -> Spread:
    """Return the spread of distances [R, N]; NaN where a row was in the resample."""
    decay = _decay(distances, logs)
    resamples, rows = np.nonzero(~np.isnan(distances))
    chosen = generator.integers(0, len(resamples), size=_PAIRS)
    resamples, rows = resamples[chosen], rows[chosen]
    return Spread(resamples=resamples, distances=distances[resamples, rows] / np.exp(decay * logs[rows]), decay=decay)


def _decay(distances: Floats, logs: Floats) -> float:
    """Return the slope of log |distance| on log size (Harvey 1976, Econometrica 44), shrunk towards 0.

    The factor is max(0, 1 - (error / slope)^2), as in James-Stein shrinkage, so that a slope within its standard error
    becomes 0.
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
