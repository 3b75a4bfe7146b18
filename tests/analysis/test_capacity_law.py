from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares
from sklearn.linear_model import QuantileRegressor

from nas_distill.analysis.capacity_law import LawError, fit_capacity_law, law_sentences, law_students
from nas_distill.analysis.frame import COLUMNS
from nas_distill.analysis.law import CapacityLaw
from nas_distill.analysis.law_answers import Terms, size_answer
from nas_distill.analysis.law_bands import MOST_RESAMPLED, expanded_tail
from nas_distill.analysis.law_fit import EXPONENTS, Sample, draw_counts, fit, line, resampled
from nas_distill.analysis.law_holdout import holdout_coverage
from nas_distill.errors import ConfigError

FLOORS, RISES, EXPONENT, REFERENCE = {"a": 1.0, "b": -1.0}, {"a": 6.0, "b": 10.0}, 0.6, 10_000.0
FEW = 60


def true_gap(size: float, family: str) -> float:
    return float(FLOORS[family] + RISES[family] * (size / REFERENCE) ** -EXPONENT)


def make_trials(count: int = 80, *, noise: float = 0.3, seed: int = 0, **columns: object) -> pd.DataFrame:
    """Returns students of two families by a known law with Gaussian noise, in points."""
    generator = np.random.default_rng(seed)
    sizes = np.ceil(REFERENCE * np.exp(generator.normal(0.0, 1.2, count)))
    families = np.array(["a", "b"])[np.arange(count) % 2]
    gaps = [true_gap(size, family) for size, family in zip(sizes, families, strict=True)]
    rows = {
        "number": range(count),
        "status": "complete",
        "family": families,
        "num_params": sizes.astype(np.int64),
        "macs": 30 * sizes.astype(np.int64),
        "gap_points": np.array(gaps) + generator.normal(0.0, noise, count),
    }
    return pd.DataFrame({**rows, **columns}).reindex(columns=list(COLUMNS)).astype(dict(COLUMNS))


def make_sample(gaps: np.ndarray, logs: np.ndarray, *, quantile: float = 0.5, floor: float = -100.0) -> Sample:
    rows = np.arange(len(gaps))
    return Sample(groups=(rows,), own=1, logs=logs, gaps=gaps, quantile=quantile, floor=floor)


@pytest.fixture(scope="module")
def law() -> CapacityLaw:
    return fit_capacity_law(make_trials(), resamples=FEW)


def test_students_on_a_law_give_it_back() -> None:
    found = fit_capacity_law(make_trials(noise=0.0), resamples=FEW)
    assert found.exponent == pytest.approx(EXPONENT, rel=0.01)
    for family, size in (("a", 2_000.0), ("b", 50_000.0)):
        assert found.predict(size, family).mid[0] == pytest.approx(true_gap(size, family), abs=0.05)
    assert found.curve("b").floor_points == pytest.approx(-1.0, abs=0.1)


@pytest.mark.parametrize("quantile", [0.5, 0.1])
def test_a_line_is_that_of_an_exact_quantile_regression(quantile: float) -> None:
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


def test_the_profile_finds_what_a_joint_search_from_many_starts_finds() -> None:
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


def test_a_resample_is_the_fit_of_its_rows() -> None:
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


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 10**7), st.floats(-5.0, 90.0)), min_size=6, max_size=30))
def test_whatever_the_students_the_law_falls_and_its_bands_are_in_order(students: list[tuple[int, float]]) -> None:
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


def test_the_order_of_the_rows_has_no_influence(law: CapacityLaw) -> None:
    shuffled = fit_capacity_law(make_trials().sample(frac=1.0, random_state=1), resamples=FEW)
    assert shuffled.exponent_interval == law.exponent_interval
    assert law_sentences(shuffled) == law_sentences(law)


def test_wild_students_hardly_move_the_law() -> None:
    trials = make_trials(80)
    wild = trials.copy()
    wild.loc[::10, "gap_points"] = 90.0
    plain, moved = (fit_capacity_law(table, resamples=20) for table in (trials, wild))
    for family in ("a", "b"):
        assert moved.predict(REFERENCE, family).mid[0] == pytest.approx(
            plain.predict(REFERENCE, family).mid[0], abs=0.5
        )


def test_smallest_size_is_where_the_law_comes_down_to_the_gap(law: CapacityLaw) -> None:
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
    assert "8.00 points the typical student of b needs" in answer.sentence


def test_a_gap_below_the_floor_is_not_reachable(law: CapacityLaw) -> None:
    answer = law.smallest_size(-30.0, "a")
    assert (answer.value, answer.reachable) == (None, False)
    assert "not reachable" in answer.sentence
    assert "the floor of the typical student of a is" in answer.sentence


@pytest.mark.parametrize(
    ("low", "words", "lower"),
    [
        (0.0, "; at the favourable end of the interval it takes less than any size worth naming.", None),
        (5e3, "; at the favourable end of the interval it takes 5.00k parameters.", 5e3),
        (1e80, "times the largest student seen.", None),
    ],
)
def test_the_favourable_end_of_what_is_not_reachable_is_a_size_worth_naming(
    low: float, words: str, lower: float | None
) -> None:
    terms = Terms(
        size="num_params", of="typical", level=0.9, family=None, smallest=1e3, largest=1e5, floor=-1.0,
        floor_interval=(-2.0, 0.0), farthest=1000.0,
    )  # fmt: skip
    answer = size_answer(terms, 1.0, (1e80, low, 1e85))
    assert answer.sentence.endswith(words)
    assert (answer.value, answer.low, answer.high) == (None, lower, None)


@pytest.mark.parametrize("gap", [-30.0, 8.0, 50.0])
def test_answers_are_plain_numbers_that_json_takes(law: CapacityLaw, gap: float) -> None:
    answer = law.smallest_size(gap, "b")
    assert json.loads(json.dumps(asdict(answer))) == asdict(answer)
    assert {type(one) for one in (answer.value, answer.low, answer.high)} <= {float, type(None)}


def test_sizes_that_no_student_had_are_called_extrapolated(law: CapacityLaw) -> None:
    curve = law.curve("b")
    gap = law.predict(1.5 * curve.largest, "b").mid[0]
    beyond = law.smallest_size(gap, "b")
    assert beyond.extrapolates
    assert "lies above the largest student seen" in beyond.sentence
    below = law.smallest_size(law.predict(0.5 * curve.smallest, "b").mid[0], "b")
    assert below.extrapolates
    assert "lies below the smallest student seen" in below.sentence
    assert law.predict([curve.smallest, 2 * curve.largest], "b").extrapolates.tolist() == [False, True]
    assert law.gain_of_scaling(curve.largest, 2.0, "b").extrapolates
    assert not law.gain_of_scaling(curve.largest / 2.0, 2.0, "b").extrapolates


def test_what_twice_the_size_is_worth(law: CapacityLaw) -> None:
    answer = law.gain_of_scaling(REFERENCE, 2.0, "b")
    truth = true_gap(REFERENCE, "b") - true_gap(2 * REFERENCE, "b")
    assert answer.value == pytest.approx(truth, abs=0.4)
    assert answer.low is not None
    assert answer.high is not None
    assert answer.low < truth < answer.high
    assert "points smaller" in answer.sentence
    half = law.gain_of_scaling(2 * REFERENCE, 0.5, "b")
    assert answer.value is not None
    assert half.value == pytest.approx(-answer.value)
    assert "points larger" in half.sentence


def test_every_student_within_the_gap_is_said_so(law: CapacityLaw) -> None:
    flat = fit_capacity_law(make_trials(gap_points=np.linspace(1.0, 1.2, 80) ** 2, num_params=range(80, 160)))
    answer = flat.smallest_size(50.0, "a")
    assert answer.reachable
    assert answer.value == flat.curve("a").smallest
    assert "at every size seen" in answer.sentence


def test_predictive_intervals_hold_new_students_and_those_of_the_law_are_narrower() -> None:
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


def test_the_best_tenth_lies_below_the_typical_student() -> None:
    trials = make_trials(120, noise=2.0)
    typical, best = (fit_capacity_law(trials, of=of, resamples=20) for of in ("typical", "best"))
    difference = typical.predict(REFERENCE, "a").mid[0] - best.predict(REFERENCE, "a").mid[0]
    assert difference == pytest.approx(2.0 * 1.2816, abs=0.8)
    assert "best tenth of students of a" in best.gain_of_scaling(REFERENCE, family="a").sentence


def test_bands_end_where_accuracy_does() -> None:
    trials = make_trials(noise=3.0)
    trials["top1"] = 0.97 - trials["gap_points"] / 100.0
    found = fit_capacity_law(trials, resamples=FEW)
    assert found.possible == pytest.approx((-3.0, 97.0))
    bands = found.predict([1.0, 10.0**9], "b")
    assert bands.new_low.min() >= -3.0 - 1e-9
    assert bands.new_high.max() <= 97.0 + 1e-9


def test_small_families_count_among_all_families_alone() -> None:
    trials = make_trials(40)
    trials.loc[0:4, "family"] = "c"
    trials.loc[5:12, "family"] = "d"
    trials.loc[5:12, "num_params"] = 5_000
    found = fit_capacity_law(trials, resamples=20)
    assert [curve.family for curve in found.curves] == ["a", "b"]
    assert dict(found.left_out) == {"c": "5 students, 6 are needed", "d": "1 different sizes, 3 are needed"}
    assert found.together.students == 40
    assert found.curve("c") is found.together
    assert any(sentence.startswith("c has no curve of its own") for sentence in law_sentences(found))
    alone = fit_capacity_law(make_trials(8), resamples=20)
    assert alone.curves == ()
    assert alone.curve("a") == alone.together
    assert np.isfinite(alone.predict(REFERENCE).mid).all()


def test_only_full_students_of_the_teacher_with_a_size_count() -> None:
    trials = make_trials(20)
    trials.loc[0, "status"] = "stopped"
    trials.loc[1, "assistant"] = 3
    trials.loc[2, "num_params"] = pd.NA
    trials.loc[3, "gap_points"] = np.nan
    trials.loc[4, "num_params"] = 0
    assert len(law_students(trials)) == 15
    assert fit_capacity_law(trials, resamples=20).together.students == 15


@pytest.mark.parametrize(
    ("trials", "arguments", "words"),
    [
        (make_trials(0), {}, "0 fully trained students, 6 are needed"),
        (make_trials(5), {}, "5 fully trained students, 6 are needed"),
        (make_trials(20), {"of": "best"}, "20 fully trained students, 30 are needed for a law of the best tenth"),
        (make_trials(20), {"size": "latency_ms"}, "latency_ms is known of 0 of 20 fully trained students"),
        (make_trials(20, num_params=500), {}, "1 different size (num_params), 3 are needed"),
        (make_trials(20, gap_points=2.0), {}, "all 20 students have a gap of +2.00 points"),
    ],
)
def test_students_that_allow_no_law_are_refused(trials: pd.DataFrame, arguments: dict[str, str], words: str) -> None:
    with pytest.raises(LawError) as caught:
        fit_capacity_law(trials, **arguments)  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": "num_parms"}, "did you mean 'num_params'"),
        ({"of": "worst"}, "known: best, typical"),
        ({"level": 1.0}, "level: 1.0"),
        ({"resamples": 1}, "resamples: 1"),
    ],
)
def test_arguments_that_break_a_rule_are_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        fit_capacity_law(make_trials(20), **arguments)  # type: ignore[arg-type]


def test_a_size_that_is_none_is_refused_by_the_check_of_a_law_too() -> None:
    with pytest.raises(ConfigError, match="size: 'foo' is not a size"):
        holdout_coverage(make_trials(20), size="foo")  # type: ignore[arg-type]


def test_questions_that_break_a_rule_are_refused(law: CapacityLaw) -> None:
    with pytest.raises(ConfigError, match="no student is of 'c'"):
        law.curve("c")
    with pytest.raises(ConfigError, match="positive and finite"):
        law.predict([1.0, -1.0])
    with pytest.raises(ConfigError, match="gap_points"):
        law.smallest_size(float("nan"))
    with pytest.raises(ConfigError, match="factor"):
        law.gain_of_scaling(1000.0, 0.0)


def test_of_many_students_a_subsample_is_resampled_and_intervals_shrink() -> None:
    few = fit_capacity_law(make_trials(MOST_RESAMPLED, noise=2.0), resamples=FEW)
    many = fit_capacity_law(make_trials(4 * MOST_RESAMPLED, noise=2.0, seed=5), resamples=FEW)
    wide, narrow = (float(np.ptp(found.exponent_interval)) for found in (few, many))
    assert narrow == pytest.approx(wide / 2.0, rel=0.6)
    low, high = many.exponent_interval
    assert low < EXPONENT < high


def test_the_tail_is_that_of_the_level_for_many_students_and_smaller_for_few() -> None:
    assert expanded_tail(0.9, 10**6, 5) == pytest.approx(0.05, abs=1e-4)
    assert expanded_tail(0.9, 15, 5) < 0.02


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
