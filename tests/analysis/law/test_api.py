from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_distill.analysis.law.api import LawError, fit_capacity_law, law_sentences, law_students
from nas_distill.analysis.law.fit import EXPONENTS
from nas_distill.errors import ConfigError
from tests.analysis.law.law_trials import EXPONENT, FEW, REFERENCE, make_trials, true_gap


def test_a_law_without_noise_is_recovered() -> None:
    found = fit_capacity_law(make_trials(noise=0.0), resamples=FEW)
    assert found.exponent == pytest.approx(EXPONENT, rel=0.01)
    for family, size in (("a", 2_000.0), ("b", 50_000.0)):
        assert found.predict(size, family).mid[0] == pytest.approx(true_gap(size, family), abs=0.05)
    assert found.curve("b").floor_points == pytest.approx(-1.0, abs=0.1)


GAPS = st.floats(-5.0, 90.0).map(lambda gap_points: round(gap_points, 9))
"""Gaps as the table of trials holds them, to nine decimals."""


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 10**7), GAPS), min_size=6, max_size=30))
def test_any_law_falls_and_its_bands_are_ordered(students: list[tuple[int, float]]) -> None:
    sizes, gaps = zip(*students, strict=True)
    count = len(students)
    trials = make_trials(count, num_params=sizes, gap_points=gaps, family="a")
    try:
        found = fit_capacity_law(trials, resamples=20)
    except LawError:
        assert len(set(sizes)) < 3 or len(set(gaps)) == 1
        return
    bands = found.predict(np.geomspace(min(sizes) / 10, max(sizes) * 10, 30))
    values = np.array([bands.low, bands.mid, bands.high, bands.new_low, bands.new_high])
    assert np.isfinite(values).all()
    assert (np.diff(bands.mid) <= 1e-9).all()
    assert (bands.low <= bands.mid).all()
    assert (bands.mid <= bands.high).all()
    assert (bands.new_low <= bands.new_high).all()
    assert EXPONENTS[0] - 1e-9 <= found.exponent <= EXPONENTS[1] + 1e-9
    for curve in found.curves:
        assert curve.rise_points >= 0.0


def test_the_law_does_not_depend_on_the_order_of_rows() -> None:
    trials = make_trials()
    law, shuffled = (
        fit_capacity_law(table, resamples=FEW) for table in (trials, trials.sample(frac=1.0, random_state=1))
    )
    assert shuffled.exponent_interval == law.exponent_interval
    assert law_sentences(shuffled) == law_sentences(law)


def test_outliers_hardly_move_the_law() -> None:
    trials = make_trials(80)
    outliers = trials.copy()
    outliers.loc[::10, "gap_points"] = 90.0
    plain, moved = (fit_capacity_law(table, resamples=20) for table in (trials, outliers))
    for family in ("a", "b"):
        assert moved.predict(REFERENCE, family).mid[0] == pytest.approx(
            plain.predict(REFERENCE, family).mid[0], abs=0.5
        )


def test_the_best_tenth_lies_below_the_typical_student() -> None:
    trials = make_trials(120, noise=2.0)
    typical, best = (fit_capacity_law(trials, of=of, resamples=20) for of in ("typical", "best"))
    difference = typical.predict(REFERENCE, "a").mid[0] - best.predict(REFERENCE, "a").mid[0]
    assert difference == pytest.approx(2.0 * 1.2816, abs=0.8)
    assert "best tenth of students of a" in best.gain_of_scaling(REFERENCE, family="a").sentence


def test_small_families_have_no_curve_of_their_own() -> None:
    trials = make_trials(40)
    trials.loc[0:4, "family"] = "c"
    trials.loc[5:12, "family"] = "d"
    trials.loc[5:12, "num_params"] = 5_000
    found = fit_capacity_law(trials, resamples=20)
    assert [curve.family for curve in found.curves] == ["a", "b"]
    assert dict(found.left_out) == {"c": "5 students, 6 are needed", "d": "1 different sizes, 3 are needed"}
    assert found.together.students == 40
    assert found.curve("c") is found.together
    small = fit_capacity_law(make_trials(8), resamples=20)
    assert small.curves == ()
    assert small.curve("a") == small.together
    assert np.isfinite(small.predict(REFERENCE).mid).all()


def test_only_fully_trained_students_of_the_teacher_with_a_size_count() -> None:
    trials = make_trials(20)
    trials.loc[0, "status"] = "stopped"
    trials.loc[1, "assistant"] = 3
    trials.loc[2, "num_params"] = pd.NA
    trials.loc[3, "gap_points"] = np.nan
    trials.loc[4, "num_params"] = 0
    assert len(law_students(trials)) == 15
    assert fit_capacity_law(trials, resamples=20).together.students == 15


@pytest.mark.parametrize(
    ("trials", "arguments", "code"),
    [
        (make_trials(0), {}, "too_few_students"),
        (make_trials(5), {}, "too_few_students"),
        (make_trials(20), {"of": "best"}, "too_few_students"),
        (make_trials(20), {"size": "latency_ms"}, "size_not_recorded"),
        (make_trials(20, num_params=500), {}, "too_few_sizes"),
        (make_trials(20, gap_points=2.0), {}, "constant_gap"),
    ],
)
def test_students_that_allow_no_law_are_rejected(trials: pd.DataFrame, arguments: dict[str, str], code: str) -> None:
    with pytest.raises(LawError) as caught:
        fit_capacity_law(trials, **arguments)  # type: ignore[arg-type]
    assert caught.value.code == f"analysis.{code}"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"size": "num_parms"}, "unknown_name"),
        ({"of": "worst"}, "unknown_name"),
        ({"level": 1.0}, "level_out_of_range"),
        ({"resamples": 1}, "count_too_small"),
    ],
)
def test_invalid_arguments_are_rejected(arguments: dict[str, object], code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        fit_capacity_law(make_trials(20), **arguments)  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.field) == (f"analysis.{code}", next(iter(arguments)))
