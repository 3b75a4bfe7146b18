from __future__ import annotations

import numpy as np
import pytest

from nas_distill.analysis.law.api import fit_capacity_law
from nas_distill.analysis.law.bootstrap import MAX_RESAMPLED
from tests.analysis.law.law_trials import EXPONENT, FEW, make_trials


def test_predictive_intervals_contain_new_students_and_are_wider_than_confidence_intervals() -> None:
    found = fit_capacity_law(make_trials(100, noise=2.0, seed=3), resamples=FEW)
    fresh = make_trials(400, noise=2.0, seed=4)
    inside = []
    for family, own in fresh.groupby("family"):
        bands = found.predict(own["num_params"].to_numpy(dtype=float), str(family))
        gaps = own["gap_points"].to_numpy()
        inside += ((bands.new_low <= gaps) & (gaps <= bands.new_high)).tolist()
        seen = ~bands.extrapolates
        assert ((bands.high - bands.low)[seen].mean()) < 0.6 * (bands.new_high - bands.new_low)[seen].mean()
    assert 0.83 < np.mean(inside) < 0.97


def test_bands_are_clipped_to_possible_gaps() -> None:
    trials = make_trials(noise=3.0)
    trials["top1"] = 0.97 - trials["gap_points"] / 100.0
    found = fit_capacity_law(trials, resamples=FEW)
    assert found.possible == pytest.approx((-3.0, 97.0))
    bands = found.predict([1.0, 10.0**9], "b")
    assert bands.new_low.min() >= -3.0 - 1e-9
    assert bands.new_high.max() <= 97.0 + 1e-9


def test_many_students_are_subsampled_and_their_intervals_shrink() -> None:
    few = fit_capacity_law(make_trials(MAX_RESAMPLED, noise=2.0), resamples=FEW)
    many = fit_capacity_law(make_trials(4 * MAX_RESAMPLED, noise=2.0, seed=5), resamples=FEW)
    wide, narrow = (float(np.ptp(found.exponent_interval)) for found in (few, many))
    assert narrow == pytest.approx(wide / 2.0, rel=0.6)
    low, high = many.exponent_interval
    assert low < EXPONENT < high
