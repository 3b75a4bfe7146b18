"""The rules of the decision table about students that were trained too briefly."""

from __future__ import annotations

import numpy as np

from nas_distill.config import DiagnosisConfig
from tests.analysis.diagnosis.judging import ENDED, FALLING, judge, student, verdict


def test_a_gap_that_fell_much_in_the_second_half_is_undertrained() -> None:
    found = judge(student(0, gap=6.0, curve=FALLING, train_agreement=0.2))[0]
    assert found.verdict == "undertrained"
    assert len(found.earlier_rules) == 2
    for part in ("21.0 points", "8 epochs", "350 %"):
        assert part in found.evidence[0]
    assert verdict(student(0, gap=6.0, curve=ENDED)) == "under_capacity"
    assert verdict(student(0, gap=1.0, curve=FALLING)) == "matched"  # too small a gap for the images
    small = np.array([3.0, 2.9, 2.8, 2.7, 2.6, 2.5, 2.4, 2.0])  # 0.65 points: fewer than 4 of 500 images
    assert [verdict(student(0, gap=2.0, curve=small), images=images) for images in (500, 5_000)] == [
        "matched", "undertrained",
    ]  # fmt: skip


def test_the_flat_tail_of_a_decayed_learning_rate_proves_nothing() -> None:
    cosine = 28.0 + 30.0 * (1.0 + np.cos(np.linspace(0.0, np.pi, 20)))
    assert verdict(student(0, gap=28.0, curve=cosine, train_agreement=0.7)) == "undertrained"


def test_the_threshold_of_late_gain_is_a_setting() -> None:
    row = student(0, gap=6.0, curve=FALLING)
    assert verdict(row, settings=DiagnosisConfig(late_gain=3.5)) == "undertrained"
    assert verdict(row, settings=DiagnosisConfig(late_gain=3.6)) == "under_capacity"


def test_a_longer_training_of_the_same_architecture_decides() -> None:
    brief = student(0, gap=20.0, spec_id="same", train_agreement=0.7, curve=ENDED)
    longer = student(1, gap=5.0, spec_id="same", planned_epochs=16, epochs=16)
    found = judge(brief, longer)[0]
    assert (found.verdict, found.rival) == ("undertrained", 1)
    assert "after 16 epochs" in found.evidence[0]
    assert verdict(brief, student(1, gap=19.0, spec_id="same", planned_epochs=16)) == "under_capacity"
    smaller = student(1, gap=5.0, size=9_000, planned_epochs=16)
    assert [verdict(brief, {**smaller, **one}) for one in ({}, {"planned_epochs": 15}, {"family": "vit"})] == [
        "undertrained", "over_capacity", "under_capacity",
    ]  # fmt: skip
    fell = {**brief, "curve": FALLING}
    assert verdict(fell, student(1, gap=19.0, spec_id="same", planned_epochs=15)) == "undertrained"
    assert verdict(fell, student(1, gap=19.0, spec_id="same", planned_epochs=16)) == "under_capacity"


def test_a_student_that_was_trained_too_briefly_to_tell_is_undecided() -> None:
    stuck = student(0, gap=60.0, train_agreement=0.3, agreement=0.3, curve=np.full(8, 60.0))
    found = judge(stuck)[0]
    assert (found.verdict, found.rival) == ("undecided", None)
    assert "only begun to fit" in found.evidence[0]
    assert verdict({**stuck, "train_agreement": 0.5}) == "under_capacity"
    assert verdict(stuck, settings=DiagnosisConfig(begun_agreement=0.3)) == "under_capacity"
    assert verdict(stuck | {"spec_id": "same"}, student(1, gap=60.0, spec_id="same", planned_epochs=16)) == (
        "under_capacity"
    )


def test_fewer_epochs_than_the_teacher_needed_are_too_few_to_call_a_student_too_small() -> None:
    small = student(0, gap=20.0, train_agreement=0.7, curve=ENDED)
    assert verdict(small, teacher_epochs=8) == "under_capacity"
    found = judge(small, teacher_epochs=9)[0]
    assert found.verdict == "undecided"
    assert "the teacher itself needed 9" in found.evidence[0]
    # A student that has had four times as many needs no more, however badly it fits.
    unfit = student(0, gap=60.0, train_agreement=0.3, agreement=0.3, curve=np.full(8, 60.0))
    assert [verdict(unfit, teacher_epochs=needed) for needed in (2, 3)] == ["under_capacity", "undecided"]


def test_two_epochs_suffice_to_be_undertrained_and_one_does_not() -> None:
    assert verdict(student(0, gap=6.0, curve=np.array([30.0, 6.0]))) == "undertrained"
    for curve in (np.array([6.0]), np.array([]), np.full(8, np.nan)):
        found = judge(student(0, gap=4.0, curve=curve))[0]
        assert found.verdict == "matched"
        assert found.earlier_rules[2].startswith("undertrained: not tested, ")
