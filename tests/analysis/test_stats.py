from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nas_distill.analysis.stats import (
    Estimate,
    accuracy_half_width_points,
    difference_half_width,
    expanded_tail,
    largest_calibrated_ece,
    median_interval,
    paired_difference_half_width,
    percentile_interval,
    proportion_difference,
    standard_error,
    t_interval,
    with_minimum_width,
)


@given(st.lists(st.floats(-100.0, 100.0), min_size=2, max_size=12))
def test_the_t_interval_is_scipys(values: list[float]) -> None:
    found = t_interval(values)
    assert found is not None
    assert found.half_width is not None
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    error = stats.sem(values)
    if error < 1e-9:
        assert found.half_width == pytest.approx(0.0, abs=1e-6)
    else:
        low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=error)
        ends = (found.mean - found.half_width, found.mean + found.half_width)
        assert ends == pytest.approx((low, high), rel=1e-9, abs=1e-7)
        assert standard_error(found, len(values)) == pytest.approx(error, rel=1e-9)


def test_one_value_has_no_half_width_and_no_values_have_no_estimate() -> None:
    assert t_interval([0.5]) == Estimate(mean=0.5, half_width=None)
    assert t_interval([]) is None


def test_the_minimum_width_is_the_exact_bound_of_no_success_in_r_trials() -> None:
    for repetitions in (1, 3, 5, 10):
        found = with_minimum_width(Estimate(mean=2.0, half_width=0.0), 0.5, repetitions)
        assert found is not None
        exact = stats.binomtest(0, repetitions).proportion_ci(0.95, method="exact").high
        assert found.mean == 2.0
        assert found.half_width == pytest.approx(0.5 * exact)
    wide = Estimate(mean=2.0, half_width=9.0)
    assert with_minimum_width(wide, 0.5, 3) == wide
    assert with_minimum_width(None, 0.5, 3) is None
    assert with_minimum_width(t_interval([1.0]), 0.5, 1) == Estimate(mean=1.0, half_width=None)


def test_the_half_width_of_an_accuracy_is_agresti_and_coulls() -> None:
    found = accuracy_half_width_points(np.array([0.0, 0.5, 1.0]), 96)
    assert found[1] == pytest.approx(100 * 1.96 * np.sqrt(0.25 / 100))
    assert found[0] == pytest.approx(found[2])
    assert found[2] == pytest.approx(100 * 1.96 * np.sqrt(0.98 * 0.02 / 100))


@settings(deadline=None)
@given(st.integers(1, 500), st.data())
def test_the_interval_of_a_difference_of_proportions_is_never_empty(count: int, data: st.DataObject) -> None:
    first, second = (data.draw(st.integers(0, count)) / count for _ in range(2))
    found = proportion_difference(first, second, count)
    assert found.half_width is not None
    assert found.mean == pytest.approx(first - second)
    assert found.half_width > 0.0
    assert proportion_difference(second, first, count).half_width == pytest.approx(found.half_width)


def test_two_perfect_and_two_useless_students_have_the_interval_of_wilson() -> None:
    # With p = 1 for both, both distances are 1 - l, and Wilson's lower end is l = 1 / (1 + z^2 / n).
    z = stats.norm.ppf(0.975)
    for count in (10, 400):
        expected = 1.0 - 1.0 / (1.0 + z**2 / count)
        for value in (0.0, 1.0):
            found = proportion_difference(value, value, count)
            assert found.mean == 0.0
            assert found.half_width == pytest.approx(expected)


def test_newcombes_own_example() -> None:
    # Newcombe 1998, table II (b), method 10: 9/10 - 3/10 with interval 0.1705 to 0.8090.
    found = proportion_difference(0.9, 0.3, 10)
    assert found.mean == pytest.approx(0.6)
    assert found.half_width == pytest.approx(0.6 - 0.1705, abs=5e-5)


def test_the_interval_of_a_difference_covers_the_truth_about_as_often_as_it_claims() -> None:
    generator, interval = np.random.default_rng(0), functools.cache(proportion_difference)
    for truth in ((0.5, 0.4), (0.99, 0.97), (1.0, 0.99)):
        hits = generator.binomial(100, truth, size=(1000, 2)) / 100
        found = [interval(float(a), float(b), 100) for a, b in hits]
        covered = [abs(one.mean - (truth[0] - truth[1])) <= (one.half_width or 0.0) for one in found]
        assert np.mean(covered) > 0.93


def test_the_bound_of_a_paired_difference_is_mcnemars() -> None:
    assert paired_difference_half_width(0.02, 0.1, 1000) == pytest.approx(1.96 * np.sqrt((0.1 - 0.0004) / 1000))
    assert paired_difference_half_width(0.1, 0.0, 1000) == 0.0


def test_half_widths_of_independent_values_add_as_squares() -> None:
    assert difference_half_width(3.0, 4.0) == pytest.approx(5.0)


def test_the_interval_of_a_median_is_about_that_of_the_exact_bootstrap() -> None:
    values = np.arange(15.0)
    low, high = median_interval(values, np.random.default_rng(0))
    # P(median of a resample <= 3) = P(Binomial(15, 4/15) >= 8) = 0.025; <= 4: P(Binomial(15, 5/15) >= 8) = 0.088.
    assert (low, high) == pytest.approx((4.0, 10.0), abs=1.0)
    assert median_interval([2.0, 2.0], np.random.default_rng(0)) == (2.0, 2.0)


def test_percentile_intervals_leave_out_both_tails() -> None:
    draws = np.stack([np.arange(101.0), 2.0 * np.arange(101.0)], axis=1)
    low, high = percentile_interval(draws, 0.1)
    assert low.tolist() == pytest.approx([10.0, 20.0])
    assert high.tolist() == pytest.approx([90.0, 180.0])
    low, high = percentile_interval(draws[:, 0])
    assert (float(low), float(high)) == pytest.approx((2.5, 97.5))


def test_the_expanded_tail_is_that_of_the_level_for_many_students_and_smaller_for_few() -> None:
    assert expanded_tail(0.9, 10**6, 5) == pytest.approx(0.05, abs=1e-4)
    assert expanded_tail(0.9, 15, 5) < 0.02


def test_a_calibration_error_of_five_hundredths_and_the_noise_of_the_images_is_accepted() -> None:
    assert largest_calibrated_ece(0.02) == pytest.approx(0.07)
    assert largest_calibrated_ece(0.02, accepted=0.1) == pytest.approx(0.12)
