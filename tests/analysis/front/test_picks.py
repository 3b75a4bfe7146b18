from __future__ import annotations

from pathlib import Path

import pytest

from nas_distill.analysis.front.front import ParetoFront, pareto_front
from nas_distill.analysis.front.picks import pick_students
from nas_distill.analysis.trials.filters import parse_filter
from nas_distill.analysis.trials.study_reader import load_frame, read_study
from nas_distill.config import SearchConfig
from nas_distill.records import TrialStatus
from tests.records.factory import changed_record
from tests.report.factory import make_record, make_run

# Gap in points and parameters; the third dominates the fourth.
_STUDENTS = [(20.0, 1_000), (4.0, 2_000), (0.9, 40_000), (1.5, 50_000), (-0.5, 400_000)]


def _front(
    path: Path,
    students: list[tuple[float, int]],
    *objectives: str,
    status: TrialStatus = TrialStatus.COMPLETE,
) -> ParetoFront:
    records = [
        make_record(0, gap_points=gap, num_params=size, status=status if number == 1 else TrialStatus.COMPLETE)
        for number, (gap, size) in enumerate(students)
    ]
    config = SearchConfig(objectives=objectives or ("gap_points", "num_params"))
    study = read_study(make_run(path, records, config=config))
    return pareto_front(study.trials, study.objectives, study.teacher)


def test_the_front_is_sorted_by_cost_and_has_no_dominated_students(tmp_path: Path) -> None:
    front = _front(tmp_path, _STUDENTS)
    assert front.numbers == (0, 1, 2, 4)
    assert front.hypervolume == pytest.approx(
        # Teacher 1.24M parameters, chance level 88 points: one rectangle per step of the front.
        (88 - 20) * 0.30103 + (88 - 4) * 1.30103 + (88 - 0.9) * 1.0 + (88 + 0.5) * 0.491362,
        rel=1e-5,
    )


@pytest.mark.parametrize("status", [TrialStatus.STOPPED, TrialStatus.FAILED])
def test_only_fully_trained_students_are_on_the_front(tmp_path: Path, status: TrialStatus) -> None:
    assert _front(tmp_path, _STUDENTS, status=status).numbers == (0, 2, 4)


def test_each_rule_picks_its_student(tmp_path: Path) -> None:
    picks = pick_students(_front(tmp_path, _STUDENTS), gap_tolerance_points=1.0, images=288)
    assert [(pick.rule, pick.number) for pick in picks] == [
        ("smallest_within_tolerance", 2),
        ("knee", 1),
        ("best_quality", 4),
    ]
    assert picks[0].values == {"gap_points": pytest.approx(0.9), "num_params": 40_000}


def test_without_a_student_within_the_tolerance_the_closest_is_named(tmp_path: Path) -> None:
    pick, _, _ = pick_students(_front(tmp_path, _STUDENTS[:2]), gap_tolerance_points=1.0, images=288)
    assert pick.number is None
    assert "trial 1 with +4.00 points" in pick.sentence


def test_a_gap_at_the_tolerance_is_within_it(tmp_path: Path) -> None:
    front = _front(tmp_path, _STUDENTS)
    tolerance = float(front.members["gap_points"].iloc[2])
    assert pick_students(front, gap_tolerance_points=tolerance, images=288)[0].number == 2


def test_floating_point_noise_does_not_put_a_gap_beyond_the_tolerance(tmp_path: Path) -> None:
    record = make_record(0, gap_points=1.0, num_params=1000)
    assert record.metrics is not None
    noisy = record.metrics.model_copy(update={"gap_points": 100.0 * (0.98 - 0.97)})
    assert noisy.gap_points > 1.0
    study = read_study(make_run(tmp_path, [changed_record(record, metrics=noisy)]))
    front = pareto_front(study.trials, study.objectives, study.teacher)
    assert pick_students(front, gap_tolerance_points=1.0, images=288)[0].number == 0
    assert parse_filter("gap_points <= 1").mask(study.trials).tolist() == [True]


@pytest.mark.parametrize(("count", "knee"), [(0, None), (1, 0), (2, 1), (3, 1)])
def test_fronts_of_any_size_have_a_knee_unless_they_are_empty(tmp_path: Path, count: int, knee: int | None) -> None:
    assert pick_students(_front(tmp_path, _STUDENTS[:count]), gap_tolerance_points=1.0, images=288)[1].number == knee


def test_the_rules_follow_other_objectives(tmp_path: Path) -> None:
    front = _front(tmp_path, _STUDENTS, "agreement", "macs", "divergence_nats")
    smallest, _, best = pick_students(front, gap_tolerance_points=1.0, images=288)
    assert smallest.number == 2
    assert best.number == 4
    assert set(best.values) == {"agreement", "macs", "divergence_nats"}


def test_load_frame_is_the_studys_table(tmp_path: Path) -> None:
    run = make_run(tmp_path, [make_record(0, gap_points=1.0, num_params=1000)])
    assert load_frame(run).equals(read_study(run).trials)
