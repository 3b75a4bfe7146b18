from __future__ import annotations

import pytest

from nas_distill.analysis.law.api import LawError
from nas_distill.analysis.law.holdout import holdout_coverage
from nas_distill.errors import ConfigError
from tests.analysis.law.law_trials import FEW, make_trials


def test_the_largest_quarter_is_held_out_and_predicted() -> None:
    trials = make_trials(80, noise=2.0)
    found = holdout_coverage(trials, resamples=FEW)
    assert (found.fitted, found.left_out) == (60, 20)
    assert found.covered + found.below + found.above == pytest.approx(1.0)
    assert found.covered >= 0.7
    assert abs(found.bias_points) <= found.error_points
    broken = trials.copy()
    largest = broken["num_params"] > found.edge
    broken.loc[largest, "gap_points"] += 40.0
    assert holdout_coverage(broken, resamples=FEW).above == 1.0


def test_too_few_students_or_equal_sizes_allow_no_check() -> None:
    with pytest.raises(LawError) as caught:
        holdout_coverage(make_trials(7))
    assert caught.value.code == "analysis.too_few_students"
    sizes = [1000, 2000, 3000, *[4000] * 17]
    with pytest.raises(LawError) as caught:
        holdout_coverage(make_trials(20, num_params=sizes), resamples=20)
    assert caught.value.code == "analysis.nothing_held_out"


def test_an_unknown_size_is_rejected() -> None:
    with pytest.raises(ConfigError) as caught:
        holdout_coverage(make_trials(20), size="foo")  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.field) == ("analysis.unknown_name", "size")
