from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from nas_distill.analysis.front.arithmetic import axes, hypervolume
from nas_distill.analysis.front.comparison import Comparison, compare_runs
from nas_distill.analysis.front.front import pareto_front
from nas_distill.analysis.front.named_studies import NamedStudy
from nas_distill.analysis.trials.filters import parse_filter
from nas_distill.analysis.trials.study_reader import COLUMNS, StudySnapshot
from nas_distill.errors import ConfigError, NoStudentError
from nas_distill.objectives import check_objectives
from nas_distill.records import TeacherRecord
from tests.report.factory import make_teacher

Student = tuple[float | None, int]


def _study(
    name: str,
    students: Sequence[Student],
    *,
    objectives: Sequence[str] = ("gap_points", "num_params"),
    teacher: TeacherRecord | None = None,
    failed: int = 0,
    running: int = 0,
) -> NamedStudy:
    rows = [
        {
            "number": number, "status": "complete", "family": "resnet", "architecture": "resnet", "arguments": "{}",
            "gap_points": gap, "num_params": size, "macs": 10 * size,
            "divergence_nats": None if gap is None else gap / 40,
        }
        for number, (gap, size) in enumerate(students)
    ]  # fmt: skip
    rows += [{"number": len(rows) + place, "status": "failed", "num_params": 10} for place in range(failed)]
    trials = pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict(COLUMNS))
    study = StudySnapshot(
        trials=trials, curves=pd.DataFrame(), objectives=check_objectives(objectives),
        teacher=teacher or make_teacher(), rejections=(), running=running,
    )  # fmt: skip
    return NamedStudy(name=name, study=study)


A = _study("a", [(10.0, 1000), (5.0, 10_000), (6.0, 20_000)], failed=1)
B = _study("b", [(12.0, 1000), (2.0, 10_000), (1.0, 100_000)], running=2)
C = _study("c", [(10.0, 1000), (4.0, 10_000), (None, 5)])


def _members(found: Comparison) -> list[tuple[str, int]]:
    return list(zip(found.front["run"], found.front["number"], strict=True))


def test_one_run_is_its_own_front() -> None:
    found = compare_runs([A])
    front = pareto_front(A.study.trials, A.study.objectives, A.study.teacher)
    assert found.front["number"].tolist() == list(front.numbers) == [0, 1]
    assert found.hypervolume == front.hypervolume == found.runs[0].hypervolume
    assert found.reference == front.reference
    assert (found.epsilon, found.surfaces, found.notes) == (None, (), ())
    assert found.students["number"].tolist() == [0, 1, 2]
    assert found.students["on_front"].tolist() == [True, True, False]


def test_the_joint_front_names_the_run_of_each_member_and_keeps_ties() -> None:
    found = compare_runs([A, B, C])
    assert _members(found) == [("a", 0), ("c", 0), ("b", 1), ("b", 2)]
    counts = [
        (run.complete, run.failed, run.running, run.matching, run.front, run.on_joint_front) for run in found.runs
    ]
    assert counts == [(3, 1, 0, 3, 2, 1), (3, 0, 2, 3, 3, 2), (3, 0, 0, 3, 2, 1)]
    (note,) = found.notes
    assert note.startswith("1 of 9 students")
    assert "gap_points" in note
    bound = [88.0, np.log10(1_240_000)]
    joint = axes(found.front, found.objectives)
    assert found.hypervolume == pytest.approx(hypervolume(joint, bound))
    assert found.hypervolume > max(run.hypervolume for run in found.runs)


def test_epsilon_is_the_share_of_the_axes_that_a_front_falls_short_by() -> None:
    found = compare_runs([A, B])
    # Over both fronts the gap spans 1 to 12 points and the size two decades.
    expected = [[0.0, max(3.0 / 11.0, 4.0 / 11.0)], [2.0 / 11.0, 0.0]]
    assert found.epsilon is not None
    np.testing.assert_allclose(found.epsilon, expected, atol=1e-12)


def test_a_front_that_is_ahead_everywhere_has_an_indicator_of_0() -> None:
    found = compare_runs([_study("ahead", [(1.0, 1000)]), _study("behind", [(2.0, 2000)]), _study("none", [])])
    assert found.epsilon is not None
    np.testing.assert_array_equal(found.epsilon, [[0.0, 0.0, np.nan], [1.0, 0.0, np.nan], [np.nan] * 3])


def test_attainment_needs_three_runs() -> None:
    assert compare_runs([A, B]).surfaces == ()
    low, median, high = compare_runs([A, B, C]).surfaces
    assert [surface.searches for surface in (low, median, high)] == [1, 2, 3]
    np.testing.assert_allclose(low.points, [[1.0, 5.0], [2.0, 4.0], [10.0, 3.0]])
    np.testing.assert_allclose(median.points, [[4.0, 4.0], [10.0, 3.0]])
    np.testing.assert_allclose(high.points, [[5.0, 4.0], [12.0, 3.0]])


def test_four_objectives_have_a_front_and_no_attainment() -> None:
    names = ("gap_points", "divergence_nats", "num_params", "macs")
    found = compare_runs([A, B, C], objectives=names)
    assert _members(found) == [("a", 0), ("c", 0), ("b", 1), ("b", 2)]
    assert found.surfaces == ()
    assert len(found.notes) == 2


def test_a_filter_chooses_the_students() -> None:
    found = compare_runs([A, B], where=parse_filter("num_params > 1000"))
    assert _members(found) == [("b", 1), ("b", 2)]
    assert [(run.complete, run.matching) for run in found.runs] == [(3, 2), (3, 2)]
    none = compare_runs([A, B], where=parse_filter("gap_points < 3"))
    assert [note.split(":")[0] for note in none.notes] == ["a"]
    assert none.epsilon is not None
    assert np.isnan(none.epsilon[0]).all()
    with pytest.raises(NoStudentError) as caught:
        compare_runs([A, B], where=parse_filter("gap_points<0"))
    assert (caught.value.code, caught.value.field) == ("analysis.no_match", "--where")


def test_a_filter_may_name_a_column_that_only_one_run_recorded() -> None:
    measured = A.study.trials.assign(latency_ms=1.0)
    with_latency = NamedStudy(name="a", study=_with(A.study, measured))
    assert _members(compare_runs([with_latency, B], where=parse_filter("latency_ms < 2"))) == [("a", 0), ("a", 1)]
    with pytest.raises(ConfigError) as caught:
        compare_runs([A, B], where=parse_filter("latency_ms < 2"))
    assert (caught.value.code, caught.value.field) == ("analysis.filter_column_not_recorded", "--where")


def _with(study: StudySnapshot, trials: pd.DataFrame) -> StudySnapshot:
    return StudySnapshot(
        trials=trials, curves=study.curves, objectives=study.objectives, teacher=study.teacher,
        rejections=study.rejections, running=study.running,
    )  # fmt: skip


def test_runs_with_different_objectives_need_chosen_ones() -> None:
    other = _study("other", [(3.0, 10)], objectives=("gap_points", "macs"))
    with pytest.raises(ConfigError) as caught:
        compare_runs([A, other])
    assert (caught.value.code, caught.value.field) == ("analysis.objectives_differ", "--objectives")
    assert _members(compare_runs([A, other], objectives=("gap_points", "macs"))) == [("other", 0)]
    reordered = _study("reordered", [(3.0, 10)], objectives=("num_params", "gap_points"))
    assert [one.name for one in compare_runs([A, reordered]).objectives] == ["gap_points", "num_params"]


def test_different_teachers_and_data_are_noted_and_the_worst_reference_is_shared() -> None:
    teacher = make_teacher(num_params=2_000_000, top1=0.9).model_copy(
        update={"weights_sha256": "1" * 64, "data_id": "e" * 12}
    )
    found = compare_runs([A, _study("other", [(3.0, 500)], teacher=teacher)])
    assert found.reference == pytest.approx((88.0, 2_000_000.0))
    teachers, data = found.notes
    assert "(a: small_resnet at 98.0 %, other: small_resnet at 90.0 %)" in teachers
    assert "(a: dddddddddddd, other: eeeeeeeeeeee)" in data


def test_a_run_without_a_student_is_a_note_and_only_such_runs_are_an_error() -> None:
    failed, empty = _study("failed", [], failed=2, running=1), _study("empty", [])
    found = compare_runs([A, failed, B])
    (note,) = found.notes
    assert note.startswith("failed: ")
    assert "2 failed, 1 running" in note
    assert [surface.points.shape for surface in found.surfaces] == [(3, 2), (2, 2), (0, 2)]
    with pytest.raises(NoStudentError) as caught:
        compare_runs([failed, empty])
    assert caught.value.code == "analysis.no_student"
    assert all(value in str(caught.value) for value in ("failed: 2 failed, 1 running", "empty: "))


def test_an_objective_that_was_never_recorded_is_an_error() -> None:
    with pytest.raises(ConfigError) as caught:
        compare_runs([A], objectives=("gap_points", "size_bytes"))
    assert (caught.value.code, caught.value.field) == ("analysis.objective_not_recorded", "--objectives")
    assert "size_bytes" in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        compare_runs([A], objectives=("gap_points", "nosuch"))
    assert (caught.value.code, caught.value.field) == ("config.unknown_objective", "objectives")
