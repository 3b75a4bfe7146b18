from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pytest

from nas_distill.analysis.law.api import fit_capacity_law
from nas_distill.analysis.law.model import CapacityLaw
from nas_distill.analysis.law.wording import Terms, size_answer
from nas_distill.errors import ConfigError
from tests.analysis.law.law_trials import EXPONENT, FEW, REFERENCE, make_trials, true_gap


@pytest.fixture(scope="module")
def law() -> CapacityLaw:
    return fit_capacity_law(make_trials(), resamples=FEW)


def test_the_smallest_size_is_where_the_law_falls_to_the_gap(law: CapacityLaw) -> None:
    answer = law.smallest_size(8.0, "b")
    assert answer.value is not None
    assert answer.low is not None
    assert answer.high is not None
    truth = REFERENCE * (9.0 / 10.0) ** (-1.0 / EXPONENT)
    assert answer.low < truth < answer.high
    assert answer.low <= answer.value <= answer.high
    assert law.predict(answer.value, "b").mid[0] == pytest.approx(8.0, abs=1e-6)
    assert answer.reachable
    assert not answer.extrapolates
    assert "the typical student of b needs" in answer.sentence


def test_a_gap_below_the_floor_is_not_reachable(law: CapacityLaw) -> None:
    answer = law.smallest_size(-30.0, "a")
    assert (answer.value, answer.reachable) == (None, False)
    assert "the floor of the typical student of a is" in answer.sentence


@pytest.mark.parametrize(
    ("low", "end", "lower"),
    [
        (0.0, "less than 1/1000 of the smallest size.", None),
        (5e3, "5.00k parameters.", 5e3),
        (1e80, "times the largest size of this run.", None),
    ],
)
def test_an_unreachable_gap_reports_the_favourable_end_of_its_interval(
    low: float, end: str, lower: float | None
) -> None:
    terms = Terms(
        size="num_params", of="typical", level=0.9, family=None, smallest=1e3, largest=1e5, floor=-1.0,
        floor_interval=(-2.0, 0.0), max_ratio=1000.0,
    )  # fmt: skip
    answer = size_answer(terms, 1.0, (1e80, low, 1e85))
    assert answer.sentence.endswith(end)
    assert (answer.value, answer.low, answer.high) == (None, lower, None)


@pytest.mark.parametrize("gap", [-30.0, 8.0, 50.0])
def test_answers_can_be_written_as_json(law: CapacityLaw, gap: float) -> None:
    answer = law.smallest_size(gap, "b")
    assert json.loads(json.dumps(asdict(answer))) == asdict(answer)
    assert {type(one) for one in (answer.value, answer.low, answer.high)} <= {float, type(None)}


def test_sizes_outside_the_range_of_the_students_are_extrapolations(law: CapacityLaw) -> None:
    curve = law.curve("b")
    gap = law.predict(1.5 * curve.largest, "b").mid[0]
    beyond = law.smallest_size(gap, "b")
    assert beyond.extrapolates
    assert "above the largest student" in beyond.sentence
    below = law.smallest_size(law.predict(0.5 * curve.smallest, "b").mid[0], "b")
    assert below.extrapolates
    assert "below the smallest student" in below.sentence
    assert law.predict([curve.smallest, 2 * curve.largest], "b").extrapolates.tolist() == [False, True]
    assert law.gain_of_scaling(curve.largest, 2.0, "b").extrapolates
    assert not law.gain_of_scaling(curve.largest / 2.0, 2.0, "b").extrapolates


def test_the_gain_of_twice_the_size(law: CapacityLaw) -> None:
    answer = law.gain_of_scaling(REFERENCE, 2.0, "b")
    truth = true_gap(REFERENCE, "b") - true_gap(2 * REFERENCE, "b")
    assert answer.value == pytest.approx(truth, abs=0.4)
    assert answer.low is not None
    assert answer.high is not None
    assert answer.low < truth < answer.high
    half = law.gain_of_scaling(2 * REFERENCE, 0.5, "b")
    assert answer.value is not None
    assert half.value == pytest.approx(-answer.value)


def test_a_gap_that_all_sizes_reach_needs_the_smallest_size() -> None:
    flat = fit_capacity_law(make_trials(gap_points=np.linspace(1.0, 1.2, 80) ** 2, num_params=range(80, 160)))
    answer = flat.smallest_size(50.0, "a")
    assert answer.reachable
    assert answer.value == flat.curve("a").smallest
    assert "at all sizes" in answer.sentence


def test_invalid_questions_are_rejected(law: CapacityLaw) -> None:
    questions: list[tuple[Callable[[], object], str, str]] = [
        (lambda: law.curve("c"), "analysis.unknown_name", "family"),
        (lambda: law.predict([1.0, -1.0]), "analysis.not_positive", "sizes"),
        (lambda: law.smallest_size(float("nan")), "analysis.not_finite", "gap_points"),
        (lambda: law.gain_of_scaling(1000.0, 0.0), "analysis.not_positive", "factor"),
    ]
    for question, code, field in questions:
        with pytest.raises(ConfigError) as caught:
            question()
        assert (caught.value.code, caught.value.field) == (code, field)
