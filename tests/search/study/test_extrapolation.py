from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_distill.search.study.extrapolation import extrapolate

VALUES = st.floats(-1e6, 1e6, allow_nan=False)
CURVES = st.lists(VALUES, min_size=1, max_size=12)
MORE = st.integers(0, 200)


@given(CURVES, MORE)
def test_the_value_is_finite_and_never_above_the_last_points(curve: list[float], more: int) -> None:
    value = extrapolate(curve, len(curve) + more)
    assert math.isfinite(value)
    assert value <= max(curve[-3:]) + 1e-9 * max(map(abs, curve))


@given(CURVES, MORE)
def test_the_fall_per_doubling_is_no_faster_than_before(curve: list[float], more: int) -> None:
    full = len(curve) + more
    value = extrapolate(curve, full)
    low = min(curve[-3:])
    share = math.log(full) / math.log(len(curve)) - 1.0 if len(curve) > 1 else 0.0
    most = max(curve[0] - low, 0.0) * share
    assert value >= low - most - 1e-9 * (1.0 + abs(low) + most)


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=10), MORE, st.integers(1, 50), st.integers(-99, 99))
def test_extrapolation_is_equivariant(curve: list[int], more: int, scale: int, shift: int) -> None:
    full = len(curve) + more
    moved = [scale * value + shift for value in curve]
    assert extrapolate(moved, full) == pytest.approx(scale * extrapolate(curve, full) + shift, rel=1e-6, abs=1e-6)


@given(CURVES)
def test_a_whole_curve_is_not_extrapolated(curve: list[float]) -> None:
    assert extrapolate(curve, len(curve)) == curve[-1]
    assert extrapolate(curve, 1) == curve[-1]


@given(VALUES, st.integers(1, 100))
def test_one_point_is_its_own_value(value: float, full: int) -> None:
    assert extrapolate([value], full) == value


@given(VALUES, st.integers(1, 8), MORE)
def test_a_flat_curve_stays_flat(value: float, done: int, more: int) -> None:
    assert extrapolate([value] * done, done + more) == value


@pytest.mark.parametrize("exponent", [0.25, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("done", [4, 6, 9])
def test_a_power_law_is_recovered(exponent: float, done: int) -> None:
    curve = [3.0 + 20.0 * epoch**-exponent for epoch in range(1, done + 1)]
    assert extrapolate(curve, 27) == pytest.approx(3.0 + 20.0 * 27**-exponent, abs=1e-6)


@pytest.mark.parametrize("curve", [[10.0, 6.0], [10.0, 6.0, 5.0]])
def test_a_short_falling_curve_falls_further(curve: list[float]) -> None:
    assert curve[-1] - 10.0 < extrapolate(curve, 9) < curve[-1]


def test_a_rising_curve_stays() -> None:
    assert 1.0 <= extrapolate([1.0, 2.0, 3.0], 9) <= 3.0


@pytest.mark.parametrize("curve", [[], [1.0, math.nan], [math.inf]])
def test_an_invalid_curve_is_an_error(curve: list[float]) -> None:
    with pytest.raises(ValueError, match=re.escape(str(curve))):
        extrapolate(curve, 9)
