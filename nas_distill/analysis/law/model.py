"""A fitted capacity law and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas_distill.analysis.law.bootstrap import Bootstrap, new_students
from nas_distill.analysis.law.wording import Answer, SizeName, Subject, Terms, gain_answer, size_answer
from nas_distill.errors import ConfigError, nearest_names

Floats = NDArray[np.float64]

FARTHEST = 1000.0
"""Times the largest student: sizes beyond are not given as answers. Likewise below the smallest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """gap(s) = floor + rise (s / reference)^-exponent, of one family or of all.

    Attributes:
        family: None for the curve of all families.
        students: That it was fitted to.
        smallest: Smallest size of them.
        largest: Largest.
        floor_points: c, percentage points; negative where students beat the teacher.
        floor_interval: Of c.
        rise_points: a, percentage points above the floor at the reference size, at least 0.
        rise_interval: Of a.
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
    """What a law says at K sizes; percentage points, arrays [K].

    Attributes:
        sizes: As asked.
        mid: The law.
        low: Lower end of its interval: where the curve may lie.
        high: Upper end.
        new_low: Lower end of the predictive interval: where the gap of one new student may lie.
        new_high: Upper end.
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
    """A fitted law; see docs/capacity_law.md.

    Attributes:
        size: Column that is the size.
        of: "typical": half of the students of a size have a smaller gap; "best": a tenth has.
        level: Of all intervals, 0 to 1.
        reference: s0, geometric mean of the sizes.
        exponent: b, shared by all curves.
        exponent_interval: Of b.
        curves: One per family that has enough students, by name.
        together: The curve of all students of all families.
        left_out: Families without a curve of their own, each with the reason; they count in `together`.
        possible: Smallest and largest gap that the teacher's accuracy allows; bands end there.
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
        """Returns a family's curve; that of all families for None and for a family that is left out.

        Raises:
            ConfigError: There is no such family.
        """
        return self._curves[self._place(family)]

    def predict(self, sizes: ArrayLike, family: str | None = None) -> Bands:
        """Returns the law, its interval and that of a new student at sizes [K].

        Outside the sizes that were seen, the predictive interval is expanded as that of the law is.

        Raises:
            ConfigError: A size is not positive; there is no such family.
        """
        asked = np.atleast_1d(np.asarray(sizes, dtype=np.float64))
        if not (np.isfinite(asked) & (asked > 0.0)).all():
            raise ConfigError(f"sizes: {asked.tolist()} must all be positive and finite")
        place = self._place(family)
        curve, logs = self._curves[place], np.log(asked / self.reference)
        mid = self._bootstrap.law.at(logs, place)[0]
        low, high = self._interval(self._bootstrap.draws.at(logs, place))
        draws = new_students(self._bootstrap.draws, self._bootstrap.spreads[place], logs, place)
        outside = (asked < curve.smallest) | (asked > curve.largest)
        plain = (1.0 - self.level) / 2.0
        tails = [plain, 1.0 - plain, self._tail, 1.0 - self._tail]
        new_low, new_high, far_low, far_high = np.quantile(draws, tails, axis=0)
        bounds = (
            mid, np.minimum(low, mid), np.maximum(high, mid),
            np.where(outside, far_low, new_low), np.where(outside, far_high, new_high),
        )  # fmt: skip
        names = ("mid", "low", "high", "new_low", "new_high")
        clipped = {name: np.clip(values, *self.possible) for name, values in zip(names, bounds, strict=True)}
        return Bands(sizes=asked, **clipped, extrapolates=outside)

    def smallest_size(self, gap_points: float, family: str | None = None) -> Answer:
        """Returns the size at which the law comes down to a gap; sizes below have larger gaps.

        Args:
            gap_points: Percentage points, may be negative.
            family: See `curve`.

        Raises:
            ConfigError: The gap is not finite; there is no such family.
        """
        if not np.isfinite(gap_points):
            raise ConfigError(f"gap_points: {gap_points} must be finite")
        place = self._place(family)
        law, draws = self._bootstrap.law, self._bootstrap.draws
        value = _sizes_at(gap_points, law.floors[:, place], law.rises[:, place], law.exponents)[0]
        drawn = _sizes_at(gap_points, draws.floors[:, place], draws.rises[:, place], draws.exponents)
        left = int(self._tail * len(drawn))
        ends = np.sort(drawn)[[left, -1 - left]]
        logs = np.array([value, min(ends[0], value), max(ends[1], value)])
        found = self.reference * np.exp(np.clip(logs, -200.0, 200.0))
        return size_answer(self._terms(family), gap_points, (found[0], found[1], found[2]))

    def gain_of_scaling(self, size: float, factor: float = 2.0, family: str | None = None) -> Answer:
        """Returns by how many points the law is lower at `factor` times the size; negative when it is higher.

        Args:
            size: Positive.
            factor: Positive; below 1 the answer is what a smaller student would lose, as a negative number.
            family: See `curve`.

        Raises:
            ConfigError: Size or factor is not positive and finite; there is no such family.
        """
        for name, value in (("size", size), ("factor", factor)):
            if not (np.isfinite(value) and value > 0.0):
                raise ConfigError(f"{name}: {value} must be positive and finite")
        place = self._place(family)
        logs = np.log(np.array([size, size * factor]) / self.reference)
        mid, drawn = self._bootstrap.law.at(logs, place)[0], self._bootstrap.draws.at(logs, place)
        value = float(mid[0] - mid[1])
        low, high = self._interval((drawn[:, 0] - drawn[:, 1])[:, None])
        return gain_answer(
            self._terms(family), size, factor, (value, min(float(low[0]), value), max(float(high[0]), value))
        )

    @property
    def _curves(self) -> tuple[Curve, ...]:
        return (*self.curves, self.together) if self.curves else (self.together,)

    def _place(self, family: str | None) -> int:
        names = [curve.family for curve in self.curves]
        if family is None or family in dict(self.left_out):
            return len(names)
        if family not in names:
            known = [name for name in names if name is not None] + list(dict(self.left_out))
            raise ConfigError(f"family: no student is of '{family}'; {nearest_names(family, known)}")
        return names.index(family)

    def _interval(self, draws: Floats) -> tuple[Floats, Floats]:
        low, high = np.quantile(draws, [self._tail, 1.0 - self._tail], axis=0)
        return low, high

    def _terms(self, family: str | None) -> Terms:
        curve = self.curve(family)
        return Terms(
            size=self.size, of=self.of, level=self.level, family=curve.family, smallest=curve.smallest,
            largest=curve.largest, floor=curve.floor_points, floor_interval=curve.floor_interval,
            farthest=FARTHEST,
        )  # fmt: skip


def _sizes_at(gap: float, floors: Floats, rises: Floats, exponents: Floats) -> Floats:
    """Returns log(size / reference) at which laws [R] come down to a gap; infinite where none does or all do."""
    below = gap - floors
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = -np.log(below / rises) / exponents
    return np.where(below <= 0.0, np.inf, np.where(rises <= 0.0, -np.inf, logs))
