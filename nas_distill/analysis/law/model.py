"""`CapacityLaw`: a fitted law, its predictions and its answers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas_distill.analysis.law.bootstrap import Bootstrap, new_students
from nas_distill.analysis.law.wording import Answer, SizeName, Subject, Terms, gain_answer, size_answer
from nas_distill.analysis.stats import percentile_interval
from nas_distill.errors import ConfigError, nearest_names

Floats = NDArray[np.float64]

MAX_RATIO = 1000.0
"""No answer names a size above this ratio times the largest student's, or below the smallest's divided by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """gap(s) = floor + rise (s / reference)^-exponent, for one family or for all.

    Attributes:
        family: Name of the family; None for the curve of all families.
        students: Number of students that it was fitted to.
        smallest: Smallest size of these students.
        largest: Largest size of these students.
        floor_points: c, the gap at infinite size, percentage points; negative if students beat the teacher.
        floor_interval: Interval of c.
        rise_points: a, the gap above the floor at the reference size, percentage points, at least 0.
        rise_interval: Interval of a.
    """

    family: str | None
    students: int
    smallest: float
    largest: float
    floor_points: float
    floor_interval: tuple[float, float]
    rise_points: float
    rise_interval: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bands:
    """Predictions of a law at K sizes, in percentage points; arrays [K].

    Attributes:
        sizes: The requested sizes.
        mid: The law.
        low: Lower end of its interval, for the position of the curve.
        high: Upper end of that interval.
        new_low: Lower end of the predictive interval, for the gap of one new student.
        new_high: Upper end of that interval.
        extrapolates: Whether the size is outside those of the curve's students.
    """

    sizes: Floats
    mid: Floats
    low: Floats
    high: Floats
    new_low: Floats
    new_high: Floats
    extrapolates: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CapacityLaw:
    """A fitted law; see docs/explanation/capacity-gap.md.

    Attributes:
        size: Column that is the size.
        of: "typical" if half of the students of a size have a smaller gap; "best" if a tenth have.
        level: Confidence level of all intervals, 0 to 1.
        reference: s0, the geometric mean of the sizes.
        exponent: b, shared by all curves.
        exponent_interval: Interval of b.
        curves: One curve per family with enough students, by name.
        together: Curve of all students of all families.
        left_out: Families without a curve of their own, each with the reason. Their students count in `together`.
        possible: Smallest and largest gap that the teacher's accuracy allows; bands are clipped to them.
    """

    size: SizeName
    of: Subject
    level: float
    reference: float
    exponent: float
    exponent_interval: tuple[float, float]
    curves: tuple[Curve, ...]
    together: Curve
    left_out: tuple[tuple[str, str], ...]
    possible: tuple[float, float]
    _bootstrap: Bootstrap = field(repr=False)
    _tail: float = field(repr=False)

    def curve(self, family: str | None = None) -> Curve:
        """Return the curve of a family; that of all families for None and for a family without its own curve.

        Raises:
            ConfigError: No student is of this family.
        """
        return self._curves[self._index(family)]

    def predict(self, sizes: ArrayLike, family: str | None = None) -> Bands:
        """Return the law, its interval and the predictive interval of a new student at sizes [K].

        Outside the sizes of the students, the predictive interval is expanded like that of the law.

        Args:
            sizes: Sizes [K], positive.
            family: See `curve`.

        Raises:
            ConfigError: A size is not positive and finite, or no student is of this family.
        """
        requested = np.atleast_1d(np.asarray(sizes, dtype=np.float64))
        if not (np.isfinite(requested) & (requested > 0.0)).all():
            raise ConfigError(
                f"{requested.tolist()} must all be positive and finite", code="analysis.not_positive", field="sizes"
            )
        index = self._index(family)
        curve, logs = self._curves[index], np.log(requested / self.reference)
        mid = self._bootstrap.law.at(logs, index)[0]
        low, high = self._interval(self._bootstrap.draws.at(logs, index))
        draws = new_students(self._bootstrap.draws, self._bootstrap.spreads[index], logs, index)
        outside = (requested < curve.smallest) | (requested > curve.largest)
        new_low, new_high = percentile_interval(draws, (1.0 - self.level) / 2.0)
        far_low, far_high = percentile_interval(draws, self._tail)
        bounds = (
            mid, np.minimum(low, mid), np.maximum(high, mid),
            np.where(outside, far_low, new_low), np.where(outside, far_high, new_high),
        )  # fmt: skip
        names = ("mid", "low", "high", "new_low", "new_high")
        clipped = {name: np.clip(values, *self.possible) for name, values in zip(names, bounds, strict=True)}
        return Bands(sizes=requested, **clipped, extrapolates=outside)

    def smallest_size(self, gap_points: float, family: str | None = None) -> Answer:
        """Return the size at which the law falls to a gap; smaller sizes have larger gaps.

        Args:
            gap_points: Gap, percentage points; may be negative.
            family: See `curve`.

        Raises:
            ConfigError: The gap is not finite, or no student is of this family.
        """
        if not np.isfinite(gap_points):
            raise ConfigError(f"{gap_points} must be finite", code="analysis.not_finite", field="gap_points")
        index = self._index(family)
        law, draws = self._bootstrap.law, self._bootstrap.draws
        value = _sizes_at(gap_points, law.floors[:, index], law.rises[:, index], law.exponents)[0]
        drawn = _sizes_at(gap_points, draws.floors[:, index], draws.rises[:, index], draws.exponents)
        # Order statistics, not quantiles: a resample that never falls to the gap has an infinite size.
        left = int(self._tail * len(drawn))
        ends = np.sort(drawn)[[left, -1 - left]]
        logs = np.array([value, min(ends[0], value), max(ends[1], value)])
        found = self.reference * np.exp(np.clip(logs, -200.0, 200.0))
        return size_answer(self._terms(family), gap_points, (found[0], found[1], found[2]))

    def gain_of_scaling(self, size: float, factor: float = 2.0, family: str | None = None) -> Answer:
        """Return by how many points the law is lower at `factor` times the size; negative if it is higher.

        Args:
            size: Size to start from, positive.
            factor: Ratio of the other size to `size`, positive. Below 1 the answer is negative: the loss of a smaller
                student.
            family: See `curve`.

        Raises:
            ConfigError: Size or factor is not positive and finite, or no student is of this family.
        """
        for name, value in (("size", size), ("factor", factor)):
            if not (np.isfinite(value) and value > 0.0):
                raise ConfigError(f"{value} must be positive and finite", code="analysis.not_positive", field=name)
        index = self._index(family)
        logs = np.log(np.array([size, size * factor]) / self.reference)
        mid, drawn = self._bootstrap.law.at(logs, index)[0], self._bootstrap.draws.at(logs, index)
        value = float(mid[0] - mid[1])
        low, high = self._interval((drawn[:, 0] - drawn[:, 1])[:, None])
        return gain_answer(
            self._terms(family), size, factor, (value, min(float(low[0]), value), max(float(high[0]), value))
        )

    @property
    def _curves(self) -> tuple[Curve, ...]:
        return (*self.curves, self.together) if self.curves else (self.together,)

    def _index(self, family: str | None) -> int:
        names = [curve.family for curve in self.curves]
        if family is None or family in dict(self.left_out):
            return len(names)
        if family not in names:
            known = [name for name in names if name is not None] + list(dict(self.left_out))
            raise ConfigError(
                f"no student is of family '{family}'; {nearest_names(family, known)}",
                code="analysis.unknown_name",
                field="family",
            )
        return names.index(family)

    def _interval(self, draws: Floats) -> tuple[Floats, Floats]:
        return percentile_interval(draws, self._tail)

    def _terms(self, family: str | None) -> Terms:
        curve = self.curve(family)
        return Terms(
            size=self.size, of=self.of, level=self.level, family=curve.family, smallest=curve.smallest,
            largest=curve.largest, floor=curve.floor_points, floor_interval=curve.floor_interval,
            max_ratio=MAX_RATIO,
        )  # fmt: skip


def _sizes_at(gap: float, floors: Floats, rises: Floats, exponents: Floats) -> Floats:
    """Return log(size / reference) at which laws [R] fall to a gap; inf if never, -inf if they are always below it."""
    below = gap - floors
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = -np.log(below / rises) / exponents
    return np.where(below <= 0.0, np.inf, np.where(rises <= 0.0, -np.inf, logs))
