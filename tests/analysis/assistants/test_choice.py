"""The choice of teacher assistants."""

from __future__ import annotations

from math import log, sqrt
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_distill.analysis.assistants.choice import Choice, Student, choose_assistant

IMAGES = 1000
TEACHER = 1_000_000


def student(number: int, num_params: int, gap_points: float, agreement: float = 0.9) -> Student:
    return Student(number=number, num_params=num_params, gap_points=gap_points, agreement=agreement)


def choose(students: list[Student], candidates: list[Student] | None = None, **changes: float) -> Choice:
    settings = {"parent_params": TEACHER, "min_gap_points": 1.0, "images": IMAGES, "max_students": 3} | changes
    return choose_assistant(students, students if candidates is None else candidates, **settings)  # type: ignore[arg-type]  # whole numbers where they belong


FRONT = [
    student(0, 2_000, 30.0, 0.65),
    student(1, 10_000, 12.0, 0.85),
    student(2, 60_000, 6.0, 0.90),
    student(3, 150_000, 3.0, 0.95),
    student(4, 600_000, 0.2, 0.99),
]


def test_the_assistant_is_midway_between_the_teacher_and_the_students_with_a_large_gap() -> None:
    # Students 0 to 3 need help: their mean size is 20,598, and the geometric mean of that and the teacher's 143,520.
    choice = choose(FRONT)
    assert (choice.outcome, choice.assistant, choice.students) == ("chosen", 3, (0, 1, 2))
    assert "144k" in choice.sentence


def test_the_students_with_the_largest_gaps_are_taught() -> None:
    assert choose(FRONT, max_students=2).students == (0, 1)


def test_a_second_assistant_is_midway_between_the_first_and_the_students() -> None:
    taught = [student(5, 2_000, 20.0, 0.75), student(6, 10_000, 8.0, 0.88), student(7, 60_000, 4.5, 0.92)]
    students = [student(0, 2_000, 20.0, 0.75), student(1, 10_000, 8.0), student(2, 60_000, 4.5), *FRONT[3:]]
    choice = choose(students, taught, parent_params=150_000)
    assert (choice.assistant, choice.students) == (7, (0, 1))


@pytest.mark.parametrize(
    ("students", "bound"),
    [([], ""), ([student(0, 1_000, 0.9, 0.999)], "+1.00 points"), ([student(0, 1_000, 2.0, 0.85)], "+2.40 points")],
)
def test_a_gap_that_is_not_large_needs_no_assistant(students: list[Student], bound: str) -> None:
    choice = choose(students)
    assert (choice.outcome, choice.assistant, choice.students) == ("not_needed", None, ())
    assert bound in choice.sentence


@pytest.mark.parametrize(
    "candidates",
    [
        [],
        [student(9, 3_000, 3.0)],  # not much larger than student 0
        [student(9, 100_000, 31.0)],  # worse than student 0
        [student(9, TEACHER, 0.0)],  # no smaller than the teacher
    ],
)
def test_without_a_qualified_candidate_no_assistant_is_chosen(candidates: list[Student]) -> None:
    choice = choose(FRONT[:1], candidates)
    assert (choice.outcome, choice.assistant, choice.students) == ("none_qualifies", None, ())


def test_a_gap_that_the_validation_images_cannot_resolve_is_not_large() -> None:
    # 1.96 sqrt((1 - 0.9 - 0.02^2) / n): the two networks differ in being right on a tenth of the images at most.
    one = student(0, 1_000, 2.0, 0.9)
    assert one.large_gap_points(0.0, 1000) == pytest.approx(100 * 1.96 * sqrt((0.1 - 0.0004) / 1000))
    assert one.large_gap_points(5.0, 1000) == 5.0
    assert student(0, 1_000, 10.0, 1.0).large_gap_points(-1.0, 1000) == 0.0


@st.composite
def fronts(draw: st.DrawFn) -> list[Student]:
    count = draw(st.integers(0, 12))
    sizes = draw(st.lists(st.integers(10, 2 * TEACHER), min_size=count, max_size=count))
    gaps = draw(st.lists(st.floats(-5.0, 60.0), min_size=count, max_size=count))
    agreements = draw(st.lists(st.floats(0.0, 1.0), min_size=count, max_size=count))
    return [student(number, *values) for number, values in enumerate(zip(sizes, gaps, agreements, strict=True))]


@given(fronts(), fronts(), st.floats(-2.0, 10.0), st.integers(1, 4))
def test_the_chosen_assistant_can_help_its_students(
    students: list[Student], candidates: list[Student], min_gap_points: float, max_students: int
) -> None:
    choice = choose(students, candidates, min_gap_points=min_gap_points, max_students=max_students)
    in_need = [one for one in students if one.gap_points > one.large_gap_points(min_gap_points, IMAGES)]

    def helped(candidate: Student) -> list[Student]:
        return [
            one for one in in_need if one.num_params < candidate.num_params and one.gap_points > candidate.gap_points
        ]

    def qualifies(candidate: Student) -> bool:
        much_smaller = any(2 * one.num_params < candidate.num_params for one in helped(candidate))
        return candidate.num_params < TEACHER and much_smaller

    if choice.assistant is None:
        assert not any(qualifies(candidate) for candidate in candidates)
        assert choice.students == ()
        return
    chosen = candidates[choice.assistant]
    assert qualifies(chosen)
    taught = [students[number] for number in choice.students]
    assert len(taught) == min(max_students, len(helped(chosen)))
    assert all(one in helped(chosen) for one in taught)
    least = min(one.gap_points for one in taught)
    assert all(one.gap_points <= least for one in helped(chosen) if one not in taught)
    target = (log(TEACHER) + fmean(log(one.num_params) for one in in_need)) / 2
    distances = [abs(log(one.num_params) - target) for one in candidates if qualifies(one)]
    assert abs(log(chosen.num_params) - target) == min(distances)


@given(fronts(), st.randoms(use_true_random=False))
def test_the_order_of_students_does_not_matter(students: list[Student], random: object) -> None:
    shuffled = list(students)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    assert choose(shuffled) == choose(students)
