from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares
from sklearn.linear_model import QuantileRegressor

from nas_distill.analysis.law.fit import Sample, draw_counts, fit, line, resampled
from tests.analysis.law.law_trials import REFERENCE, make_trials


def make_sample(gaps: np.ndarray, logs: np.ndarray, *, quantile: float = 0.5, floor: float = -100.0) -> Sample:
    rows = np.arange(len(gaps))
    return Sample(groups=(rows,), own=1, logs=logs, gaps=gaps, quantile=quantile, floor=floor)


@pytest.mark.parametrize("quantile", [0.5, 0.1])
def test_a_line_is_as_good_as_an_exact_quantile_regression(quantile: float) -> None:
    generator = np.random.default_rng(1)
    logs = generator.normal(0.0, 1.0, 150)
    powers = np.exp(-0.7 * logs)
    gaps = 1.0 + 4.0 * powers + 2.0 * generator.exponential(1.0, 150)
    sample = make_sample(gaps, logs, quantile=quantile)
    floors, rises = line(powers[None], gaps, np.ones((1, 1, 150)), sample, 300)
    exact = QuantileRegressor(quantile=quantile, alpha=0.0).fit(powers[:, None], gaps)

    def loss(floor: float, rise: float) -> float:
        left = gaps - floor - rise * powers
        return float(np.maximum(quantile * left, (quantile - 1.0) * left).sum())

    assert loss(floors[0, 0], rises[0, 0]) <= 1.01 * loss(float(exact.intercept_), float(exact.coef_[0]))


def test_the_fit_is_as_good_as_a_joint_search_from_many_starts() -> None:
    generator = np.random.default_rng(2)
    logs = generator.normal(0.0, 1.2, 120)
    gaps = 1.0 + 5.0 * np.exp(-0.6 * logs) + generator.normal(0.0, 1.0, 120)
    sample = make_sample(gaps, logs)

    def residuals(values: np.ndarray) -> np.ndarray:
        return np.asarray(values[0] + values[1] * np.exp(-np.exp(values[2]) * logs) - gaps)

    def loss(values: np.ndarray) -> float:
        return float(np.abs(residuals(values)).sum())

    starts = [np.array([0.0, 4.0, np.log(start)]) for start in (0.2, 0.6, 1.5)]
    joint = min(
        (least_squares(residuals, start, loss="soft_l1", f_scale=0.02, max_nfev=500).x for start in starts), key=loss
    )
    found = fit(sample)
    mine = np.array([found.floors[0, 0], found.rises[0, 0], np.log(found.exponents[0])])
    assert loss(mine) <= 1.005 * loss(joint)


def test_a_resample_equals_the_fit_of_its_rows() -> None:
    trials = make_trials(40)
    logs = np.log(trials["num_params"].to_numpy(dtype=float) / REFERENCE)
    sample = make_sample(trials["gap_points"].to_numpy(), logs)
    counts = draw_counts([np.arange(40)], 40, 3, np.random.default_rng(0))
    assert counts.sum(axis=1).tolist() == [40.0] * 3
    law = fit(sample)
    together = resampled(sample, counts, law)
    for place in range(3):
        rows = np.repeat(np.arange(40), counts[place].astype(int))
        alone = resampled(make_sample(sample.gaps[rows], logs[rows]), np.ones((1, 40)), law)
        at = np.array([-1.0, 0.0, 1.0])
        assert together.at(at, 0)[place] == pytest.approx(alone.at(at, 0)[0], abs=0.05)
