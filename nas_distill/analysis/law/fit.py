"""Fit quantiles of a saturating power law with one exponent, for many resamples at once.

Own code: a law has hundreds of resamples with a dozen exponents each, and the fits below run as one array operation.
`sklearn.linear_model.QuantileRegressor` solves one linear programme per fit; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EXPONENTS = (0.1, 3.0)
"""Bounds of the exponent. At the lower bound the law is nearly a straight line in log size over two decades, and at the
upper bound nearly a step. Data cannot distinguish exponents beyond them."""

_GRID = 21
_OFFSETS = np.array([0.02, 0.06, 0.15, 0.35, 0.8, 1.6])
_STEPS, _ROUGH_STEPS = 40, 8
_SMOOTHING = 0.1
_SETTLED = 1e-3
_AT_ONCE = 100_000
"""Numbers per step, so that they fit in the processor's cache."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """The N students that a law is fitted to.

    Attributes:
        groups: Rows of each of G curves, as index arrays. A row may belong to several (its family, and all together).
        own: Number of curves, from the first, that decide the exponent. The others use it.
        logs: log(size / reference) [N].
        gaps: Gaps, percentage points [N].
        quantile: Quantile of the gaps at a size that the law describes, in (0, 1).
        floor: Smallest possible gap, percentage points.
    """

    groups: tuple[NDArray[np.int64], ...]
    own: int
    logs: Floats
    gaps: Floats
    quantile: float
    floor: float

    @property
    def rarer(self) -> float:
        """Share of the students on the side of the curve with fewer students."""
        return min(self.quantile, 1.0 - self.quantile)

    @property
    def width(self) -> float:
        """Width of the smoothing of the absolute value at 0, percentage points: a small share of the gaps' spread.

        It is narrower for an outer quantile, because a wide smoothing would move that outwards.
        """
        spread = float(np.median(np.abs(self.gaps - np.median(self.gaps))))
        return _SMOOTHING * self.rarer * (spread or float(np.ptp(self.gaps)) or 1.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curves:
    """R laws: gap = floor + rise exp(-exponent log(size / reference)).

    Attributes:
        floors: c [R, G], percentage points.
        rises: a [R, G], percentage points above the floor at the reference size, at least 0.
        exponents: b [R].
    """

    floors: Floats
    rises: Floats
    exponents: Floats

    def at(self, logs: Floats, group: int) -> Floats:
        """Return gaps [R, K] at log(size / reference) [K]."""
        powers = np.exp(-self.exponents[:, None] * logs)
        return np.asarray(self.floors[:, group, None] + self.rises[:, group, None] * powers)


def fit(sample: Sample) -> Curves:
    """Fit the law of a sample, R = 1."""
    low, high = np.log(EXPONENTS)
    counts = np.ones((1, len(sample.gaps)))
    rough = _fitted(sample, counts, np.linspace(low, high, _GRID), _STEPS)
    return _fitted(sample, counts, _around(float(rough.exponents[0])), _STEPS)


def resampled(sample: Sample, counts: Floats, law: Curves) -> Curves:
    """Fit the laws of R resamples.

    Args:
        sample: Sample of N rows.
        counts: How often each row is in each resample [R, N].
        law: Law of the sample, R = 1.
    """
    grid = _around(float(law.exponents[0]))
    height = max(1, _AT_ONCE // (len(grid) * counts.shape[1]))
    parts = [
        _fitted(sample, counts[start : start + height], grid, _ROUGH_STEPS) for start in range(0, len(counts), height)
    ]
    return Curves(
        floors=np.concatenate([part.floors for part in parts]),
        rises=np.concatenate([part.rises for part in parts]),
        exponents=np.concatenate([part.exponents for part in parts]),
    )


def _around(exponent: float) -> Floats:
    """Return a grid of log exponents, densest around one; deviations of resamples span orders of magnitude."""
    low, high = np.log(EXPONENTS)
    steps = np.concatenate([-_OFFSETS[::-1], [0.0], _OFFSETS])
    inside = np.log(exponent) + steps
    return np.unique(np.concatenate([[low], inside[(inside > low) & (inside < high)], [high]]))


def draw_counts(
    strata: Sequence[NDArray[np.int64]], rows: int, resamples: int, generator: np.random.Generator
) -> Floats:
    """Return how often each row is in each pairs-bootstrap resample [R, N]; every stratum keeps its number of rows."""
    counts = np.zeros((resamples, rows))
    for stratum in strata:
        size = len(stratum)
        counts[:, stratum] = generator.multinomial(size, np.full(size, 1.0 / size), size=resamples)
    return counts


def line(powers: Floats, gaps: Floats, counts: Floats, sample: Sample, steps: int) -> tuple[Floats, Floats]:
    """Return floors c and rises a of the quantile fits of the gaps on c + a powers, with a >= 0 and c >= sample.floor.

    Uses the MM algorithm of Hunter and Lange (2000, Journal of Computational and Graphical Statistics 9, section 2):
    |r| is majorised by a parabola, so that each step is a weighted least-squares line. For a given exponent the problem
    is convex.

    Args:
        powers: Powers of the sizes [Q, N].
        gaps: Gaps, percentage points [N].
        counts: Weights [1, M, N] or [Q, M, N]: M fits for each of Q powers.
        sample: Sample with the quantile, the floor and the width of the smoothing.
        steps: Most steps of the algorithm.

    Returns:
        Floors and rises, arrays [Q, M].
    """
    tilt, width = 2.0 * sample.quantile - 1.0, sample.width
    design = np.stack(np.broadcast_arrays(1.0, powers, powers * powers, gaps, powers * gaps), axis=-1)
    sums = counts @ design
    tilts = tilt * sums[..., :2]
    floors, rises = _least_squares(sums, sample.floor)
    for _ in range(steps):
        weights = rises[..., None] * powers[:, None]
        weights += floors[..., None]
        weights -= gaps
        np.abs(weights, out=weights)
        weights += width
        np.divide(counts, weights, out=weights)
        sums = weights @ design
        sums[..., 3:] += tilts
        previous = floors
        floors, rises = _least_squares(sums, sample.floor)
        if np.abs(floors - previous).max() <= _SETTLED * width:
            break
    return floors, rises


def _least_squares(sums: Floats, floor: float) -> tuple[Floats, Floats]:
    """Return c and a from the sums [..., 5] of w, w p, w p^2, w y and w p y."""
    ones, firsts, squares, right, slopes = (sums[..., column] for column in range(5))
    determinant = ones * squares - firsts * firsts
    flat = determinant <= 1e-10 * ones * squares
    rises = (ones * slopes - firsts * right) / np.where(flat, 1.0, determinant)
    flat |= rises < 0.0
    rises = np.where(flat, 0.0, rises)
    floors = (right - rises * firsts) / np.maximum(ones, 1e-300)
    below = floors < floor
    steepest = np.maximum(0.0, (slopes - floor * firsts) / np.maximum(squares, 1e-300))
    return np.where(below, floor, floors), np.where(below & ~flat, steepest, rises)


def _fitted(sample: Sample, counts: Floats, logs_of_b: Floats, steps: int) -> Curves:
    steps = round(steps * 0.5 / sample.rarer)  # A narrower smoothing makes shorter steps.
    losses = np.zeros((len(logs_of_b), len(counts)))
    for rows in sample.groups[: sample.own]:
        powers = np.exp(-np.exp(logs_of_b)[:, None] * sample.logs[rows])
        losses += _loss(powers, sample.gaps[rows], counts[None, :, rows], sample, steps)
    exponents = np.exp(_lowest(logs_of_b, losses))
    floors, rises = np.empty((2, len(counts), len(sample.groups)))
    for index, rows in enumerate(sample.groups):
        powers = np.exp(-exponents[:, None] * sample.logs[rows])
        found = line(powers, sample.gaps[rows], counts[:, None, rows], sample, 2 * steps)
        floors[:, index], rises[:, index] = found[0][:, 0], found[1][:, 0]
    return Curves(floors=floors, rises=rises, exponents=exponents)


def _loss(powers: Floats, gaps: Floats, counts: Floats, sample: Sample, steps: int) -> Floats:
    """Return the check loss of the best lines [Q, M]."""
    floors, rises = line(powers, gaps, counts, sample, steps)
    residuals = gaps - floors[..., None] - rises[..., None] * powers[:, None]
    check = 0.5 * np.abs(residuals) + (sample.quantile - 0.5) * residuals
    return np.asarray((counts * check).sum(axis=-1))


def _lowest(places: Floats, losses: Floats) -> Floats:
    """Return the position of the minimum of the parabola through the lowest point and its neighbours [R]."""
    best = losses.argmin(axis=0)
    inner = np.clip(best, 1, len(places) - 2)
    columns = np.arange(losses.shape[1])
    left, middle, right = (losses[inner + step, columns] for step in (-1, 0, 1))
    before, after = places[inner] - places[inner - 1], places[inner + 1] - places[inner]
    up, down = (left - middle) / before, (right - middle) / after
    curvature = (up + down) / (before + after)
    slope = (down * before - up * after) / (before + after)
    shift = np.where(curvature > 0.0, -0.5 * slope / np.where(curvature > 0.0, curvature, 1.0), 0.0)
    refined = places[inner] + np.clip(shift, -before, after)
    return np.asarray(np.where(best == inner, refined, places[best]), dtype=np.float64)
