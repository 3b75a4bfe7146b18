from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nas_distill.analysis.front.arithmetic import Floats, non_dominated_mask
from nas_distill.analysis.front.attainment import attainment_surfaces

_COORDINATES = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, float("nan")])
_LEVELS = (1.0, 25.0, 100.0 / 3.0, 50.0, 75.0, 100.0)


def _sets() -> st.SearchStrategy[list[Floats]]:
    def of(width: int) -> st.SearchStrategy[list[Floats]]:
        one = arrays(np.float64, st.tuples(st.integers(0, 5), st.just(width)), elements=_COORDINATES)
        return st.lists(one, min_size=1, max_size=5)

    return st.sampled_from([2, 3]).flatmap(of)


def _by_definition(sets: list[Floats], count: int) -> set[tuple[float, ...]]:
    """Return the non-dominated points of the grid that all coordinates span, which `count` sets weakly dominate."""
    known = [rows[~np.isnan(rows).any(axis=1)] for rows in sets]
    axes = [sorted({float(row[axis]) for rows in known for row in rows}) for axis in range(sets[0].shape[1])]
    reached = [
        point for point in product(*axes) if sum(bool((rows <= point).all(axis=1).any()) for rows in known) >= count
    ]
    if not reached:
        return set()
    values = np.array(reached)
    return {tuple(row) for row in values[non_dominated_mask(values)].tolist()}


@settings(deadline=None)
@given(_sets())
def test_surfaces_equal_the_definition(sets: list[Floats]) -> None:
    for surface in attainment_surfaces(sets, _LEVELS):
        assert surface.searches == max(1, math.ceil(round(len(sets) * surface.level / 100.0, 6)))
        assert {tuple(point) for point in surface.points.tolist()} == _by_definition(sets, surface.searches)
        assert len(np.unique(surface.points, axis=0)) == len(surface.points)


def test_a_third_of_three_searches_is_one() -> None:
    sets = [np.array([[0.0, 2.0]]), np.array([[2.0, 0.0]]), np.empty((0, 2))]
    one, two, three = attainment_surfaces(sets, (100.0 / 3.0, 200.0 / 3.0, 100.0))
    assert [one.searches, two.searches, three.searches] == [1, 2, 3]
    assert one.points.tolist() == [[0.0, 2.0], [2.0, 0.0]]
    assert two.points.tolist() == [[2.0, 2.0]]
    assert three.points.shape == (0, 2)


@pytest.mark.parametrize(
    ("sets", "levels", "value"),
    [
        ([], (50.0,), r"\[\]"),
        ([np.ones((2, 4))], (50.0,), r"\[4\]"),
        ([np.ones((2, 2)), np.ones((2, 3))], (50.0,), r"\[2, 3\]"),
        ([np.ones((2, 2))], (0.0,), r"\[0\.0\]"),
        ([np.ones((2, 2))], (101.0,), r"\[101\.0\]"),
    ],
)
def test_invalid_sets_and_levels_are_rejected(sets: list[Floats], levels: tuple[float, ...], value: str) -> None:
    with pytest.raises(ValueError, match=value):
        attainment_surfaces(sets, levels)
