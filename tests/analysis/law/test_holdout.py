from __future__ import annotations

import pytest

from nas_distill.analysis.law.api import LawError
from nas_distill.analysis.law.holdout import holdout_coverage
from nas_distill.errors import ConfigError
from tests.analysis.law.law_trials import FEW, make_trials


def test_the_largest_quarter_is_left_out_and_judged() -> None:
    trials = make_trials(80, noise=2.0)
    found = holdout_coverage(trials, resamples=FEW)
    assert (found.fitted, found.left_out) == (60, 20)
    assert found.covered + found.below + found.above == pytest.approx(1.0)
    assert found.covered >= 0.7
    assert abs(found.bias_points) <= found.error_points
    assert f"{found.left_out} larger ones" in found.sentence
    broken = trials.copy()
    largest = broken["num_params"] > found.edge
    broken.loc[largest, "gap_points"] += 40.0
    assert holdout_coverage(broken, resamples=FEW).above == 1.0


def test_too_few_or_equally_large_students_allow_no_check() -> None:
    with pytest.raises(LawError, match="6 are needed"):
        holdout_coverage(make_trials(7))
    sizes = [1000, 2000, 3000, *[4000] * 17]
    with pytest.raises(LawError, match="none can be left out"):
        holdout_coverage(make_trials(20, num_params=sizes), resamples=20)


def test_a_size_that_is_none_is_refused_by_the_check_of_a_law_too() -> None:
    with pytest.raises(ConfigError, match="size: 'foo' is not a size"):
        holdout_coverage(make_trials(20), size="foo")  # type: ignore[arg-type]
