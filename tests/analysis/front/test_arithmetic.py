from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from nas_distill.analysis.front.arithmetic import (
    Floats,
    axes,
    coordinates,
    from_coordinates,
    hypervolume,
    knee_index,
    non_dominated_mask,
    reference_point,
)
from nas_distill.objectives import OBJECTIVES, get_objective
from tests.analysis.front.points import make_points
from tests.report.factory import make_teacher

# Few distinct values, so that ties and equal rows are common.
_COORDINATES = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, float("nan")])
_FINITE = st.integers(0, 8).map(float)


def _tables(elements: st.SearchStrategy[float], *, least: int = 0) -> st.SearchStrategy[Floats]:
    shapes = st.tuples(st.integers(least, 9), st.integers(2, 4))
    return shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=elements))


def _dominates(a: Floats, b: Floats) -> bool:
    return bool((a <= b).all() and (a < b).any())


@given(_tables(_COORDINATES))
def test_mask_equals_the_definition(values: Floats) -> None:
    expected = [
        not np.isnan(row).any() and not any(_dominates(other, row) for other in values if not np.isnan(other).any())
        for row in values
    ]
    assert non_dominated_mask(values).tolist() == expected


def _brute_force_mask(values: Floats) -> NDArray[np.bool_]:
    known = np.array([not np.isnan(row).any() for row in values])
    rest = values[known]
    return np.array(
        [
            bool(fine) and not ((rest <= row).all(axis=1) & (rest < row).any(axis=1)).any()
            for row, fine in zip(values, known, strict=True)
        ]
    )


@pytest.mark.parametrize("width", [2, 3, 4])
@pytest.mark.parametrize("kind", ["spread", "tied", "front"])
def test_mask_of_many_rows_equals_the_definition(width: int, kind: str) -> None:
    values = make_points(2000, width, kind)
    mask = non_dominated_mask(values)
    np.testing.assert_array_equal(mask, _brute_force_mask(values))
    assert mask.any()
    assert not mask.all()


@pytest.mark.parametrize("width", [2, 3, 4])
def test_hypervolume_agrees_with_counting_random_points(width: int) -> None:
    values = make_points(300, width, "front")
    generator = np.random.default_rng(1)
    thrown = generator.uniform(0.0, 1.2, size=(20_000, width))
    known = values[~np.isnan(values).any(axis=1)]
    hits = np.array([(known <= point).all(axis=1).any() for point in thrown]).mean()
    assert hypervolume(values, [1.2] * width) / 1.2**width == pytest.approx(hits, abs=4 * 0.5 / 20_000**0.5)


def test_equal_rows_stay_together() -> None:
    assert non_dominated_mask(np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 3.0]])).tolist() == [True, True, False]


@given(_tables(_FINITE))
def test_hypervolume_counts_the_dominated_unit_cells(values: Floats) -> None:
    side = 5
    width = values.shape[1]
    cells = np.indices((side,) * width).reshape(width, -1).T
    covered = sum(bool((values <= cell).all(axis=1).any()) for cell in cells)
    assert hypervolume(values, [float(side)] * width) == pytest.approx(covered)


def test_hypervolume_ignores_rows_with_nan() -> None:
    assert hypervolume(np.array([[1.0, 1.0], [np.nan, 0.0]]), [2.0, 3.0]) == pytest.approx(2.0)


@given(arrays(np.float64, st.tuples(st.integers(1, 9), st.just(2)), elements=_FINITE))
def test_knee_of_two_objectives_is_farthest_below_the_chord(values: Floats) -> None:
    front = np.unique(values[non_dominated_mask(values)], axis=0)
    start, end = front[0], front[-1]
    span = np.where(end != start, np.abs(end - start), 1.0)
    along = (end - start) / span
    offsets = (front - start) / span
    # The cross product is twice the triangle under the chord: positive on the side of the ideal point.
    depth = -(along[0] * offsets[:, 1] - along[1] * offsets[:, 0])
    assert depth[knee_index(front)] == pytest.approx(depth.max())


@given(_tables(_FINITE, least=1), st.integers(-3, 3), st.sampled_from([0.5, 1.0, 4.0]))
def test_knee_does_not_depend_on_units(values: Floats, shift: int, factor: float) -> None:
    front = values[non_dominated_mask(values)]
    assert knee_index(front) == knee_index(front * factor + shift)


def test_knee_of_three_objectives_lies_below_the_plane_through_the_extremes() -> None:
    extremes = [[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]
    assert knee_index(np.array([*extremes, [0.5, 0.5, 0.5], [0.7, 0.6, 0.6]])) == 3


@pytest.mark.parametrize(
    ("front", "knee"),
    [
        ([[3.0, 4.0]], 0),
        ([[3.0, 4.0], [1.0, 5.0]], 1),
        ([[2.0, 2.0], [2.0, 2.0]], 0),
        ([[0.0, 10.0], [9.0, 9.0], [10.0, 0.0]], 0),
    ],
    ids=["one point", "two points", "equal points", "bulging outwards"],
)
def test_knee_of_a_front_without_a_bend_is_its_best_by_the_first_objective(front: list[list[float]], knee: int) -> None:
    assert knee_index(np.array(front)) == knee


@pytest.mark.parametrize("values", [np.empty((0, 2)), np.array([[np.nan, 1.0]]), np.array([[np.inf, 1.0]])])
def test_knee_needs_finite_rows(values: Floats) -> None:
    with pytest.raises(ValueError, match="knee"):
        knee_index(values)


def test_axes_minimise_and_take_logarithms_of_costs() -> None:
    frame = pd.DataFrame(
        {
            "agreement": [0.9, np.nan],
            "num_params": pd.array([1000, None], dtype="Int64"),
            "macs": pd.array([0, 10], dtype="Int64"),
        }
    )
    values = axes(frame, [get_objective(name) for name in ("agreement", "num_params", "macs")])
    np.testing.assert_allclose(values, [[-0.9, 3.0, 0.0], [np.nan, np.nan, 1.0]])


def test_the_reference_point_is_a_uniform_guess_at_the_teachers_cost() -> None:
    teacher = make_teacher(num_params=1000, top1=0.98)
    names = ("gap_points", "agreement", "nll_nats", "divergence_nats", "num_params", "macs", "size_bytes")
    reference = reference_point(teacher, [get_objective(name) for name in names])
    assert reference == pytest.approx((88.0, 0.1, np.log(10), np.log(10), 1000, 40_000, 4000))


@given(value=st.floats(1e-3, 1e9))
def test_coordinates_of_measured_costs_are_inverted_and_ordered(value: float) -> None:
    for name in ("latency_ms", "throughput_per_s"):
        objective = OBJECTIVES[name]
        here, more = coordinates(np.array([value, 1.5 * value]), objective)
        assert (more < here) == (objective.direction == "maximize")
        assert from_coordinates(np.array([here]), objective)[0] == pytest.approx(value, rel=1e-9)


def test_counts_come_back_as_whole_numbers() -> None:
    counts = np.array([0.0, 1.0, 12_345.0, 7_654_321.0])
    objective = OBJECTIVES["macs"]
    assert from_coordinates(coordinates(counts, objective), objective).tolist() == [1.0, 1.0, 12_345.0, 7_654_321.0]
