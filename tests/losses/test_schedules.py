"""Schedules over epochs, and the weight of the labels."""

from __future__ import annotations

import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_distill.losses.schedules import label_weight, scheduled_value
from nas_distill.records.recipe import AdaptiveSchedule

KINDS: tuple[AdaptiveSchedule, ...] = get_args(AdaptiveSchedule)
values = st.floats(0.0, 1000.0)


@given(st.sampled_from(KINDS), values, values, st.integers(1, 60))
def test_a_schedule_goes_from_start_to_end_monotonically(
    kind: AdaptiveSchedule, start: float, end: float, epochs: int
) -> None:
    path = [scheduled_value(kind, start, end, epoch, epochs) for epoch in range(epochs)]
    assert path[0] == start
    assert path[-1] == (start if kind == "constant" or epochs == 1 else end)
    assert path == sorted(path, reverse=end < start)
    assert all(min(start, end) <= value <= max(start, end) for value in path)


@given(st.sampled_from(KINDS), values, values, st.integers(2, 60))
def test_a_schedule_keeps_its_last_value(kind: AdaptiveSchedule, start: float, end: float, epochs: int) -> None:
    assert scheduled_value(kind, start, end, epochs, epochs) == scheduled_value(kind, start, end, epochs - 1, epochs)


def test_linear_cosine_and_constant_values() -> None:
    assert [scheduled_value("linear", 1.0, 0.0, epoch, 5) for epoch in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]
    expected = [4 - 3 * (1 - math.cos(math.pi * epoch / 4)) / 2 for epoch in range(5)]
    assert [scheduled_value("cosine", 4.0, 1.0, epoch, 5) for epoch in range(5)] == pytest.approx(expected)
    assert [scheduled_value("constant", 4.0, 1.0, epoch, 3) for epoch in range(3)] == [4.0, 4.0, 4.0]


@pytest.mark.parametrize(
    ("own", "factor", "expected"),
    [(0.1, 1.0, 0.1), (0.1, 0.0, 1.0), (0.0, 0.25, 0.75), (1.0, 0.3, 1.0), (2.5, 0.0, 2.5)],
)
def test_the_label_weight_rises_as_the_teacher_weight_falls(own: float, factor: float, expected: float) -> None:
    assert label_weight(own, factor) == pytest.approx(expected)


@given(st.floats(0.0, 10.0), st.floats(0.0, 1.0))
def test_the_label_weight_is_never_below_the_recipes(own: float, factor: float) -> None:
    weight = label_weight(own, factor)
    assert own <= weight <= max(own, 1.0) * (1 + 1e-15)
    assert label_weight(own, 1.0) == own
