"""The benchmark of initial weights: which students, which trainings, and what the table says of them."""

from __future__ import annotations

import pytest

from benchmarks.initial_weights.comparison import Training, compare, comparison_table, verdicts
from benchmarks.initial_weights.families import families
from benchmarks.initial_weights.starts import CUTS, StartResult, effective
from nas_distill.models.weight_selection import selection_misfit, student_layout
from nas_distill.records import StudentSpec

SIZES = {"num_classes": 10, "channels": 1, "image_size": 8}


def training(student: int, start: str, epochs: int, top1: float, *, seed: int = 0, share: float = 0.1) -> Training:
    result = StartResult(
        top1=top1, gap_points=100 * (0.9 - top1), agreement=1.0, divergence_nats=0.0, seconds=1.0, num_params=10,
        copied_share=0.0 if start == "random" else 1.0, start_top1=0.1, start_seconds=0.0,
    )  # fmt: skip
    return Training(family="basic", student=student, share=share, seed=seed, start=start, epochs=epochs, result=result)


def test_students_differ_and_can_be_cut_from_the_teacher_of_their_family() -> None:
    for family in families(8).values():
        teacher = student_layout(family.teacher, **SIZES)
        students = family.students(6, seed=3)
        assert len(set(students)) == 6
        assert family.students(2, seed=3) == students[:2]
        assert [selection_misfit(student_layout(spec, **SIZES), teacher) for spec in students] == [None] * 6


def test_options_that_change_nothing_for_a_student_are_dropped() -> None:
    teacher = StudentSpec(architecture="small_resnet", arguments={"widths": (8, 8), "depths": (2, 2)})
    as_deep = StudentSpec(architecture="small_resnet", arguments={"widths": (4,), "depths": (2,)})
    assert effective(CUTS["even layers"], as_deep, teacher) == CUTS["uniform"]
    shallower = StudentSpec(architecture="small_resnet", arguments={"widths": (4,), "depths": (1,)})
    assert effective(CUTS["even layers"], shallower, teacher) == CUTS["even layers"]
    vit = families(8)["vit"].teacher
    assert effective(CUTS["recompute"], vit, vit) == CUTS["uniform"]


def test_gains_are_paired_by_student_and_seed_and_averaged_over_seeds_first() -> None:
    trainings = [
        training(student, start, epochs, top1, seed=seed)
        for student, seed, start, epochs, top1 in (
            (0, 0, "random", 2, 0.5), (0, 1, "random", 2, 0.6), (1, 0, "random", 2, 0.2),
            (0, 0, "random", 4, 0.7), (0, 1, "random", 4, 0.7), (1, 0, "random", 4, 0.6),
            (0, 0, "reconstruct", 2, 0.7), (0, 1, "reconstruct", 2, 0.7), (1, 0, "reconstruct", 2, 0.5),
        )
    ]  # fmt: skip
    found = compare(trainings, "reconstruct", 2, 4)
    assert found.by_student == pytest.approx((15.0, 30.0))
    assert found.gain is not None
    assert found.gain.mean == pytest.approx(22.5)
    assert found.full is not None
    assert found.full.mean == pytest.approx(-5.0)
    (row,) = (row for row in comparison_table("", trainings, CUTS, 4).rows if row["start"] == "reconstruct")
    assert row["better"] == "2/0"
    assert row["worst_points"] == pytest.approx(15.0)
    assert row["trainings"] == 3


def test_a_target_is_missed_when_the_whole_interval_is_below_random_weights() -> None:
    def judged(top1: float) -> bool | None:
        trainings = [
            training(student, start, epochs, value + student / 1000)
            for student in range(4)
            for start, epochs, value in (("random", 8, 0.8), ("reconstruct", 4, top1))
        ]
        return verdicts(trainings, "reconstruct", 8)[0].met

    assert judged(0.85)
    assert not judged(0.75)
