"""Slopes and late progress of curves whose true values are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nas_distill.analysis.diagnosis.curves import MIN_TAIL, late_progress, tail_slope

Floats = NDArray[np.float64]


def line(slope: float, epochs: int, noise: float = 0.0, seed: int = 0) -> Floats:
    return 5.0 + slope * np.arange(epochs) + noise * np.random.default_rng(seed).standard_normal(epochs)


def test_the_slope_of_a_line_is_found_exactly() -> None:
    found = tail_slope(line(-0.05, 30))
    assert found is not None
    assert found.epochs == 10
    assert found.per_epoch == pytest.approx(-0.05)
    assert found.falls


def test_the_interval_contains_the_true_slope_about_as_often_as_it_claims() -> None:
    found = [tail_slope(line(-0.02, 60, noise=0.05, seed=seed)) for seed in range(200)]
    held = [one.low <= -0.02 <= one.high for one in found if one is not None]
    assert len(held) == 200
    assert np.mean(held) > 0.9
    flat = [tail_slope(line(0.0, 60, noise=0.05, seed=seed)) for seed in range(200)]
    assert np.mean([one.falls for one in flat if one is not None]) < 0.06


def test_one_outlier_hardly_changes_the_slope() -> None:
    values = line(-0.05, 30)
    values[25] += 3.0
    found = tail_slope(values)
    assert found is not None
    assert found.per_epoch == pytest.approx(-0.05, abs=0.005)


@pytest.mark.parametrize("epochs", range(MIN_TAIL))
def test_too_few_epochs_have_no_slope(epochs: int) -> None:
    assert tail_slope(line(-1.0, epochs)) is None


def test_nan_and_infinity_are_ignored() -> None:
    values = line(-0.05, 30)
    values[[3, 22, 27]] = [np.nan, np.inf, np.nan]
    found = tail_slope(values)
    assert found is not None
    assert found.per_epoch == pytest.approx(-0.05)
    assert late_progress(values) is not None
    assert tail_slope(np.full(9, np.nan)) is None


@settings(deadline=None)
@given(st.integers(2, 200), st.floats(0.001, 10.0))
def test_half_of_a_straight_fall_is_late(epochs: int, slope: float) -> None:
    assert late_progress(line(-slope, epochs)) == pytest.approx(0.5)


@settings(deadline=None)
@given(st.integers(10, 100), st.floats(0.5, 5.0))
def test_the_late_share_of_an_exponential_fall_is_exact(epochs: int, halvings: float) -> None:
    time = np.linspace(0.0, 1.0, 2 * epochs + 1)  # an odd number: the middle is an epoch
    half = np.exp2(-halvings)
    values = 1.0 + np.exp2(-2.0 * halvings * time)
    assert late_progress(values) == pytest.approx((half - half**2) / (1.0 - half**2))


def test_a_converged_curve_made_no_late_progress() -> None:
    assert late_progress(np.array([3.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0])) == 0.0
    assert late_progress(np.array([1.0, 1.0, 1.0])) == 0.0
    assert late_progress(np.array([1.0, 2.0, 3.0])) == 0.0
    assert late_progress(np.array([1.0])) is None
    assert late_progress(np.array([])) is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50))
def test_late_progress_is_a_share(values: list[float]) -> None:
    found = late_progress(np.array(values))
    assert found is not None
    assert 0.0 <= found <= 1.0
