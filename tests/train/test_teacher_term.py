"""Whether and how much the teacher's terms count in an epoch."""

from __future__ import annotations

import json

import pytest

from nas_distill.records.recipe import Adaptation
from nas_distill.train.teacher_term import TeacherTerm


def term(epochs: int = 10, **adaptive: object) -> TeacherTerm:
    return TeacherTerm(Adaptation.model_validate(adaptive), epochs)


def factors(watched: TeacherTerm, epochs: int) -> list[float]:
    return [watched.factor(epoch) for epoch in range(epochs)]


def test_the_default_factor_is_always_1() -> None:
    watched = term()
    for epoch in range(10):
        assert watched.factor(epoch) == 1.0
        watched.epoch_done(1.0)


def test_the_factor_follows_the_schedule() -> None:
    assert factors(term(5, weight_schedule="linear"), 5) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert term(5, weight_schedule="cosine", weight_end=0.4).factor(4) == 0.4


@pytest.mark.parametrize(
    ("share", "epochs", "with_teacher"),
    [(1.0, 10, 10), (0.5, 10, 5), (0.45, 10, 5), (0.01, 10, 1), (0.07, 100, 7), (0.29, 100, 29), (0.5, 1, 1)],
)
def test_the_teacher_is_dropped_after_its_share_of_the_epochs(share: float, epochs: int, with_teacher: int) -> None:
    assert factors(term(epochs, teacher_until=share), epochs) == [1.0] * with_teacher + [0.0] * (epochs - with_teacher)


def test_the_teacher_is_dropped_on_a_plateau_for_good() -> None:
    watched = term(20, teacher_patience=3)
    for loss in (2.0, 1.0, 0.995, 0.992, 0.991):
        assert watched.factor(19) == 1.0
        watched.epoch_done(loss)
    assert factors(watched, 20) == [1.0] * 5 + [0.0] * 15
    watched.epoch_done(0.01)
    assert watched.factor(6) == 0.0


def test_slow_progress_is_not_a_plateau() -> None:
    watched = term(100, teacher_patience=3)
    loss = 1.0
    for _ in range(50):
        watched.epoch_done(loss)
        loss *= 0.995
    assert watched.factor(50) == 1.0


def test_negative_sums_can_fall_too() -> None:
    watched = term(20, teacher_patience=2)
    for loss in (-1.0, -1.1, -1.2, -1.3):
        watched.epoch_done(loss)
    assert watched.factor(4) == 1.0
    watched.epoch_done(-1.305)
    watched.epoch_done(-1.31)
    assert watched.factor(6) == 0.0


def test_patience_0_never_drops_the_teacher() -> None:
    watched = term(20)
    for _ in range(15):
        watched.epoch_done(1.0)
    assert watched.factor(15) == 1.0


@pytest.mark.parametrize("done", range(8))
def test_it_can_be_restored_from_its_state(done: int) -> None:
    losses = [2.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.1]
    straight, first = term(10, teacher_patience=3), term(10, teacher_patience=3)
    for loss in losses:
        straight.epoch_done(loss)
    for loss in losses[:done]:
        first.epoch_done(loss)
    second = term(10, teacher_patience=3)
    second.load(json.loads(json.dumps(first.state())))
    for loss in losses[done:]:
        second.epoch_done(loss)
    assert factors(second, 10) == factors(straight, 10) == [1.0] * 7 + [0.0] * 3
    assert second.state() == straight.state()
