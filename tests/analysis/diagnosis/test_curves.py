"""Late gains of curves whose true values are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_distill.analysis.diagnosis.curves import epochs_needed, late_gain
from tests.report.factory import make_curve, make_teacher


@settings(deadline=None)
@given(st.integers(2, 200), st.floats(0.001, 10.0))
def test_half_of_a_straight_fall_is_late(epochs: int, slope: float) -> None:
    gaps = 90.0 - slope * np.arange(epochs, dtype=np.float64)
    assert late_gain(gaps) == pytest.approx((gaps[0] - gaps[-1]) / 2.0)


@given(st.floats(-50.0, 90.0), st.floats(0.0, 50.0))
def test_a_curve_that_settled_before_its_middle_gained_nothing_late(last: float, fall: float) -> None:
    assert late_gain(np.r_[last + fall, np.full(9, last)]) == pytest.approx(0.0, abs=1e-9)


def test_the_flat_tail_of_a_decayed_learning_rate_hides_no_gain() -> None:
    cosine = 20.0 + 30.0 * (1.0 + np.cos(np.linspace(0.0, np.pi, 101)))
    assert late_gain(cosine) == pytest.approx(30.0)


def test_one_outlier_in_the_middle_changes_little() -> None:
    gaps = np.linspace(50.0, 10.0, 41)
    gaps[20] = 90.0
    assert late_gain(gaps) == pytest.approx(20.0, abs=1.0)


def test_nan_and_infinity_are_ignored_and_a_single_value_has_no_half() -> None:
    assert late_gain(np.array([np.nan, 30.0, 20.0, np.inf, 10.0])) == pytest.approx(10.0)
    assert late_gain(np.array([3.0])) is None
    assert late_gain(np.full(9, np.nan)) is None


def test_the_epochs_that_a_network_needed_are_those_before_it_stays_near_its_last_accuracy() -> None:
    curve = make_curve(1.0, make_teacher(), epochs=30)
    needed = epochs_needed(curve)
    assert needed is not None
    assert 1 < needed < 12
    assert 100.0 * abs(curve[needed - 2].top1 - curve[-1].top1) > 2.0
    assert all(100.0 * abs(point.top1 - curve[-1].top1) <= 2.0 for point in curve[needed - 1 :])
    assert epochs_needed(curve[-1:]) == 1
    assert epochs_needed(()) is None
