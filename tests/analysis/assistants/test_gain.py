from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from nas_distill.analysis.assistants.gain import assisted_students, mean_gain
from nas_distill.analysis.stats import proportion_difference
from nas_distill.analysis.trials.study_reader import load_frame
from nas_distill.records import TrialRecord, TrialStatus
from tests.records.factory import changed_record
from tests.report.factory import make_record, make_run

IMAGES = 400


def again(record: TrialRecord, number: int, gap_points: float, **changes: object) -> TrialRecord:
    """Return a record of the same candidate, taught by the student of trial 0."""
    second = make_record(number, gap_points=gap_points, num_params=record.cost.num_params, spec=record.spec)
    return changed_record(second, **{"seed": record.seed, "assistant": 0} | changes)


@pytest.fixture
def trials(tmp_path: Path) -> pd.DataFrame:
    first = [make_record(number, gap_points=gap, num_params=1000) for number, gap in enumerate((1.0, 8.0, 6.0, 9.0))]
    failed = make_record(6, gap_points=0.0, num_params=1000, status=TrialStatus.FAILED, spec=first[3].spec)
    second = [again(first[1], 4, 5.0), again(first[2], 5, 5.5), changed_record(failed, seed=3, assistant=0)]
    return load_frame(make_run(tmp_path, [*first, *second]))


def test_a_gain_is_the_gap_before_minus_the_gap_after(trials: pd.DataFrame) -> None:
    one, two, failed = assisted_students(trials, images=IMAGES)
    assert (one.assistant, one.direct, one.number) == (0, 1, 4)
    assert one.direct_gap_points == pytest.approx(8.0)
    assert one.gap_points == pytest.approx(5.0)
    assert one.gain is not None
    assert one.gain.mean == pytest.approx(3.0)
    expected = proportion_difference(0.93, 0.9, IMAGES).half_width
    assert expected is not None
    assert one.gain.half_width == pytest.approx(100.0 * expected)
    assert (two.direct, two.number) == (2, 5)
    assert (failed.direct, failed.gap_points, failed.gain) == (3, None, None)


@pytest.mark.parametrize("gap_points", [-2.0, 98.0])
def test_the_gain_of_two_perfect_or_useless_students_is_uncertain(tmp_path: Path, gap_points: float) -> None:
    # The teacher's accuracy is 0.98, so these students are always right, or never.
    first = make_record(1, gap_points=gap_points, num_params=1000)
    (one,) = assisted_students(load_frame(make_run(tmp_path, [first, again(first, 2, gap_points)])), images=IMAGES)
    assert one.gain is not None
    assert one.gain.mean == 0.0
    assert one.gain.half_width == pytest.approx(100.0 * (1.0 - 1.0 / (1.0 + 1.959964**2 / IMAGES)), rel=1e-5)


def test_the_mean_gain_has_a_t_interval_over_the_students(trials: pd.DataFrame) -> None:
    students = assisted_students(trials, images=IMAGES)
    gain = mean_gain(students)
    assert gain is not None
    assert gain.mean == pytest.approx(1.75)
    # t(0.975; 1) s / sqrt(2), with s = sqrt(2) 1.25.
    assert gain.half_width == pytest.approx(12.7062 * 1.25, rel=1e-4)
    assert mean_gain(students[:1]) is not None
    assert mean_gain(students[2:]) is None


def test_only_the_same_candidate_recipe_and_seed_are_compared(tmp_path: Path) -> None:
    first = make_record(0, gap_points=5.0, num_params=1000)
    other_seed = again(first, 1, 3.0, seed=7)
    other_recipe = again(first, 2, 3.0, recipe=first.recipe.model_copy(update={"epochs": 13}))
    frame = load_frame(make_run(tmp_path, [first, other_seed, other_recipe]))
    assert frame["assistant"].isna().tolist() == [True, False, False]
    assert assisted_students(frame, images=IMAGES) == ()
