from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nas_distill.analysis.confirm.front_odds import front_odds
from nas_distill.analysis.confirm.picks import ConfirmedPick, confirmed_picks
from nas_distill.analysis.confirm.students import confirmed_students, mean_bias, mean_initial_weights_gain
from nas_distill.analysis.stats import Estimate
from nas_distill.objectives import check_objectives
from nas_distill.records import Fold, TrialRecord
from tests.analysis.confirm.confirming import make_arms, make_confirmed
from tests.records.factory import changed_record
from tests.report.factory import make_record

OBJECTIVES = check_objectives(["gap_points", "num_params"])


def searched(**gaps: float) -> pd.DataFrame:
    return pd.DataFrame({"number": [int(name[1:]) for name in gaps], "gap_points": list(gaps.values())})


def of_gaps(number: int, gaps: list[float], num_params: int) -> list[TrialRecord]:
    return [
        make_confirmed(number, "distilled", repetition, num_params=num_params, gap_points=gap)
        for repetition, gap in enumerate(gaps)
    ]


def picks_of(records: list[TrialRecord], tolerance: float = 1.0) -> tuple[ConfirmedPick, ...]:
    students = confirmed_students(records, searched())
    return confirmed_picks(students, front_odds(records, OBJECTIVES), OBJECTIVES, gap_tolerance_points=tolerance)


def test_accuracy_and_gain_are_means_over_repetitions_with_scipys_intervals() -> None:
    distilled, control = [[34] * 10, [33] * 10, [35] * 10], [[32] * 10, [33] * 10, [31] * 10]
    records = [*make_arms(4, distilled, control), make_record(4, gap_points=1.0, num_params=5000)]
    (student,) = confirmed_students(records, searched())
    assert (student.number, student.repetitions, student.in_folds) == (4, 3, False)
    assert student.top1 is not None
    assert student.top1.mean == pytest.approx(34 / 36)
    gain = student.distillation_gain_points
    assert gain is not None
    assert gain.half_width is not None
    differences = np.array([2.0, 0.0, 4.0]) / 36 * 100
    low, high = stats.t.interval(0.95, 2, loc=differences.mean(), scale=stats.sem(differences))
    assert (gain.mean - gain.half_width, gain.mean + gain.half_width) == pytest.approx((low, high))
    assert student.control_top1 is not None
    assert student.control_top1.mean == pytest.approx(32 / 36)
    assert student.ece is None
    assert {effect.outcome for effect in student.classes} == {"untested"}
    assert student.release is None


def test_what_the_teacher_changes_in_the_likelihood_is_paired_by_repetition() -> None:
    distilled = [make_confirmed(4, "distilled", seed, nll_nats=nll, ece=0.02) for seed, nll in enumerate((0.1, 0.3))]
    control = [make_confirmed(4, "control", seed, nll_nats=nll, ece=0.04) for seed, nll in enumerate((0.2, 0.6, 9.0))]
    (student,) = confirmed_students([*distilled, *control], searched())
    assert student.nll_change_nats is not None
    assert student.nll_change_nats.mean == pytest.approx(-0.2)
    assert student.control_nll_nats is not None
    assert student.control_nll_nats.mean == pytest.approx(9.8 / 3)
    assert student.control_ece is not None
    assert (student.control_ece.mean, student.control_ece.half_width) == pytest.approx((0.04, 0.0))
    (alone,) = confirmed_students(distilled, searched())
    assert (alone.nll_change_nats, alone.control_nll_nats, alone.control_ece) == (None, None, None)


def test_the_gain_from_initial_weights_is_paired_by_repetition() -> None:
    cut = make_record(4, gap_points=1.0, num_params=5000).spec.model_copy(update={"initial_weights": "teacher"})
    distilled = [changed_record(one, spec=cut) for one in make_arms(4, [[34] * 10, [33] * 10, [35] * 10], [])]
    from_random = [
        make_confirmed(4, "random_weights", 0, [33] * 10),
        make_confirmed(4, "random_weights", 1, [33] * 10),
        make_confirmed(4, "random_weights", 2, failed=True),
    ]
    (student,) = confirmed_students([*from_random, *distilled], searched())
    assert student.initial_weights == "teacher"
    assert student.random_weights_top1 is not None
    assert student.random_weights_top1.mean == pytest.approx(33 / 36)
    gain = student.initial_weights_gain_points
    assert gain is not None
    assert gain.half_width is not None
    differences = np.array([1.0, 0.0]) / 36 * 100
    low, high = stats.t.interval(0.95, 1, loc=differences.mean(), scale=stats.sem(differences))
    assert (gain.mean - gain.half_width, gain.mean + gain.half_width) == pytest.approx((low, high))
    assert [failure.arm for failure in student.failures] == ["random_weights"]
    assert mean_initial_weights_gain([student]) == Estimate(mean=gain.mean, half_width=None)


def test_a_student_of_random_weights_has_no_gain_from_them() -> None:
    (student,) = confirmed_students(make_arms(4, [[34] * 10], [[32] * 10]), searched())
    assert student.initial_weights == "random"
    assert (student.random_weights_top1, student.initial_weights_gain_points) == (None, None)
    assert mean_initial_weights_gain([student]) is None


def test_failures_are_listed_and_unpaired_repetitions_have_no_gain() -> None:
    records = [
        make_confirmed(4, "distilled", 0), make_confirmed(4, "control", 0, failed=True),
        make_confirmed(4, "distilled", 1, failed=True), make_confirmed(4, "control", 1),
    ]  # fmt: skip
    (student,) = confirmed_students(records, searched())
    assert [(failure.arm, failure.repetition) for failure in student.failures] == [("control", 0), ("distilled", 1)]
    assert (student.distillation_gain_points, student.classes) == (None, ())
    assert student.top1 is not None
    assert student.top1.half_width is None


def test_a_student_without_a_finished_training_has_a_row_without_estimates() -> None:
    records = [make_confirmed(4, arm, 0, failed=True) for arm in ("distilled", "control")]
    (student,) = confirmed_students(records, searched(t4=1.0))
    assert (student.repetitions, student.top1, student.bias.total, student.bias.split) == (0, None, None, None)
    assert len(student.failures) == 2
    assert [pick.number for pick in picks_of(records)] == [None, None, None]


def test_selection_bias_is_separated_from_the_shift_to_the_test_split() -> None:
    records = [
        make_confirmed(4, "distilled", repetition, gap_points=3.0 + repetition, validation_gap=2.0)
        for repetition in (0, 1)
    ]
    (student,) = confirmed_students(records, searched(t4=0.5, t9=7.0))
    bias = student.bias
    assert bias.search_gap_points == 0.5
    assert bias.total is not None
    assert bias.selection is not None
    assert bias.split is not None
    assert (bias.total.mean, bias.selection.mean, bias.split.mean) == pytest.approx((3.0, 1.5, 1.5))
    (other,) = confirmed_students(of_gaps(9, [2.0, 2.0], 100), searched(t9=1.0))
    (unknown,) = confirmed_students(of_gaps(8, [2.0, 2.0], 100), searched(t9=1.0))
    mean = mean_bias([student, other, unknown])
    assert mean is not None
    assert mean.mean == pytest.approx(2.0)
    assert mean_bias([unknown]) is None


def test_early_stopping_keeps_the_best_epoch() -> None:
    record = make_confirmed(4, "distilled", 0, gap_points=3.0, validation_gap=2.0)
    curve = (*record.curve[:-2], record.curve[-2].model_copy(update={"gap_points": 1.0}), record.curve[-1])
    patient = record.recipe.model_copy(update={"early_stopping_patience": 5})
    found = [
        confirmed_students([changed_record(record, curve=curve, recipe=recipe)], searched(t4=0.0))[0].bias
        for recipe in (record.recipe, patient)
    ]
    assert [bias.selection.mean for bias in found if bias.selection is not None] == pytest.approx([2.0, 1.0])


def test_folds_have_no_validation_score_and_unknown_trials_have_no_bias() -> None:
    fold = Fold(number=0, of=2)
    (student,) = confirmed_students([make_confirmed(4, "distilled", 0, fold=fold, gap_points=3.0)], searched(t4=1.0))
    assert student.in_folds
    assert (student.bias.selection, student.bias.split) == (None, None)
    assert student.bias.total is not None
    assert student.bias.total.mean == pytest.approx(2.0)
    (unknown,) = confirmed_students([make_confirmed(5, "distilled", 0)], searched(t4=1.0))
    assert (unknown.bias.search_gap_points, unknown.bias.total) == (None, None)


def test_clear_fronts_are_certain_and_a_seed_repeats_the_result() -> None:
    records = of_gaps(1, [5.0, 5.1, 4.9], 100) + of_gaps(2, [1.0, 1.1, 0.9], 1000) + of_gaps(3, [7.0, 7.1, 6.9], 2000)
    odds = front_odds(records, OBJECTIVES)
    assert (odds.numbers, odds.on_front) == ((1, 2, 3), (1.0, 1.0, 0.0))
    assert odds == front_odds(records, OBJECTIVES)


def test_equal_students_share_the_front_evenly_and_paired_repetitions_separate_them() -> None:
    noise = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    smaller = of_gaps(1, noise, 100)
    even = front_odds(smaller + of_gaps(2, [5.0, 3.0, 1.0, 4.0, 2.0, 0.0], 1000), OBJECTIVES)
    assert even.on_front[0] == 1.0
    assert even.on_front[1] == pytest.approx(0.5, abs=0.12)
    # Its gap is smaller by the same in every repetition, far less than the spread over repetitions.
    paired = front_odds(smaller + of_gaps(2, [gap - 0.1 for gap in noise], 1000), OBJECTIVES)
    assert paired.on_front == (1.0, 1.0)


def test_probabilities_are_close_to_the_normal_distribution() -> None:
    generator = np.random.default_rng(3)
    gaps = generator.normal(0.0, 1.0, 20)
    gaps = (gaps - gaps.mean()) / gaps.std(ddof=1)
    records = of_gaps(1, [0.0] * 20, 100) + of_gaps(2, (gaps + 0.2).tolist(), 1000)
    # Student 2 is on the front where its mean is below 0: P(0.2 + Z / sqrt(20) < 0).
    expected = stats.norm.cdf(-0.2 * np.sqrt(20))
    assert front_odds(records, OBJECTIVES).on_front[1] == pytest.approx(expected, abs=0.04)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.floats(-5.0, 20.0), min_size=1, max_size=4), min_size=1, max_size=4))
def test_odds_are_shares_of_the_resamples(gaps: list[list[float]]) -> None:
    records = [one for number, own in enumerate(gaps) for one in of_gaps(number, own, 100 * (number + 1))]
    odds = front_odds(records, OBJECTIVES, resamples=50)
    assert odds.numbers == tuple(number for number, own in enumerate(gaps) if len(own) > 1)
    assert all(0.0 <= share <= 1.0 for share in odds.on_front)
    if odds.numbers:
        assert sum(odds.at_knee) == pytest.approx(1.0)
        assert odds.on_front[0] == 1.0  # nobody is cheaper
        assert all(knee <= front for knee, front in zip(odds.at_knee, odds.on_front, strict=True))


def test_the_smallest_pick_needs_its_whole_interval_within_the_tolerance() -> None:
    unsure, sure = of_gaps(1, [0.0, 1.0, 1.4], 100), of_gaps(2, [0.5, 0.6, 0.7], 1000)
    smallest = picks_of(unsure + sure + of_gaps(3, [0.1, 0.1, 0.1], 9000))[0]
    assert (smallest.rule, smallest.number) == ("smallest_within_tolerance", 2)
    none = picks_of(unsure + sure, tolerance=0.6)[0]
    assert none.number is None
    # The interval of trial 2 ends above 0.6: 0.6 + t(0.975; 2) s / sqrt(3).
    assert f"+{0.6 + stats.sem([0.5, 0.6, 0.7]) * stats.t.ppf(0.975, 2):.2f}" in none.sentence


def test_trainings_that_agree_by_chance_have_an_interval_of_about_an_image() -> None:
    alike = of_gaps(1, [1.0] * 5, 100)  # on 360 images
    least = (1.0 - 0.025 ** (1 / 5)) * 100.0 / 360.0
    (student,) = confirmed_students(alike, searched())
    assert student.gap_points is not None
    assert student.gap_points.half_width == pytest.approx(least)
    assert student.top1 is not None
    assert student.top1.half_width == pytest.approx(least / 100.0)
    assert picks_of(alike, tolerance=1.0)[0].number is None
    assert picks_of(alike, tolerance=1.0 + 1.01 * least)[0].number == 1


def test_the_gain_of_trainings_that_agree_by_chance_has_an_interval_of_about_an_image() -> None:
    (student,) = confirmed_students(make_arms(4, [[34] * 10] * 3, [[33] * 10] * 3), searched())
    gain, control = student.distillation_gain_points, student.control_top1
    assert gain is not None
    assert control is not None
    assert gain.half_width == pytest.approx((1.0 - 0.025 ** (1 / 3)) * 100.0 / 360.0)
    assert control.half_width == pytest.approx((1.0 - 0.025 ** (1 / 3)) / 360.0)


def test_picks_among_students_on_folds_mention_folds() -> None:
    records = [
        make_confirmed(1, "distilled", number, fold=Fold(number=number, of=3), gap_points=gap)
        for number, gap in enumerate([0.1, 0.2, 0.3])
    ]
    smallest = picks_of(records)[0]
    assert "over folds" in smallest.title
    assert "over folds" in smallest.sentence


def test_the_best_is_the_cheapest_within_one_standard_error() -> None:
    best = of_gaps(3, [0.0, 1.0, 2.0], 9000)  # mean 1, standard error 0.577
    assert picks_of(best + of_gaps(2, [1.5, 1.5, 1.6], 1000) + of_gaps(1, [1.6, 1.6, 1.6], 100))[2].number == 2
    assert picks_of(best + of_gaps(2, [1.6, 1.6, 1.6], 1000))[2].number == 3


def test_the_best_by_a_maximised_quality_is_the_highest() -> None:
    objectives = check_objectives(["agreement", "num_params"])
    records = [
        make_confirmed(number, "distilled", repetition, num_params=size, agreement=at + 0.01 * repetition)
        for number, size, at in ((1, 100, 0.7), (2, 1000, 0.9))
        for repetition in range(3)
    ]
    odds = front_odds(records, objectives)
    picks = confirmed_picks(confirmed_students(records, searched()), odds, objectives, gap_tolerance_points=1.0)
    assert picks[2].number == 2
    assert odds.on_front == (1.0, 1.0)


def test_the_knee_is_the_most_frequent_knee_of_the_resamples() -> None:
    records = of_gaps(1, [20.0, 20.2], 100) + of_gaps(2, [1.0, 1.2], 1000) + of_gaps(3, [0.5, 0.7], 10_000)
    knee = picks_of(records)[1]
    assert (knee.number, knee.share) == (2, 1.0)


def test_students_with_one_repetition_are_not_picked() -> None:
    assert [pick.number for pick in picks_of(of_gaps(1, [0.0], 100))] == [None, None, None]


def test_undistillable_classes_are_sorted_by_the_loss_of_accuracy() -> None:
    generator = np.random.default_rng(0)
    control = [row.tolist() for row in generator.integers(33, 36, size=(6, 10))]
    distilled = [[*row[:2], row[2] - 8, *row[3:7], row[7] - 16, *row[8:]] for row in control]
    (student,) = confirmed_students(make_arms(4, distilled, control), searched())
    assert [effect.label for effect in student.undistillable] == [7, 2]
