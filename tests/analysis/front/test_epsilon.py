from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nas_distill.analysis.front.arithmetic import Floats, non_dominated_mask
from nas_distill.analysis.front.epsilon import epsilon_front_mask, epsilon_indicator, tolerances
from nas_distill.errors import ConfigError
from nas_distill.objectives import get_objective
from tests.analysis.front.points import make_points

_COORDINATES = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, float("nan")])
_TOLERANCES = st.sampled_from([0.0, 0.25, 0.5, 1.0, 10.0])


def _cases(least: int = 2, most: int = 4) -> st.SearchStrategy[tuple[Floats, Floats]]:
    return st.integers(least, most).flatmap(
        lambda width: st.tuples(
            arrays(np.float64, st.tuples(st.integers(0, 12), st.just(width)), elements=_COORDINATES),
            arrays(np.float64, (width,), elements=_TOLERANCES),
        )
    )


def _represent_all(kept: Floats, front: Floats, tolerance: Floats) -> bool:
    return all(any((one <= row + tolerance).all() for one in kept) for row in front)


@given(_cases())
def test_every_member_of_the_front_is_within_the_tolerance_of_a_kept_one(case: tuple[Floats, Floats]) -> None:
    values, tolerance = case
    front = non_dominated_mask(values)
    kept = epsilon_front_mask(values, tolerance)
    assert not (kept & ~front).any()
    assert _represent_all(values[kept], values[front], tolerance)
    assert kept.any() == front.any()


@given(_cases())
def test_equal_rows_are_kept_once(case: tuple[Floats, Floats]) -> None:
    values, tolerance = case
    kept = values[epsilon_front_mask(values, tolerance)]
    assert len(np.unique(kept, axis=0)) == len(kept)


@settings(deadline=None)
@given(_cases(most=2))
def test_for_two_objectives_the_kept_set_is_the_smallest(case: tuple[Floats, Floats]) -> None:
    values, tolerance = case
    front = np.unique(values[non_dominated_mask(values)], axis=0)
    count = int(epsilon_front_mask(values, tolerance).sum())
    for fewer in range(count):
        assert not any(
            _represent_all(front[list(chosen)], front, tolerance) for chosen in combinations(range(len(front)), fewer)
        ) or not len(front)


@settings(deadline=None)
@given(_cases(least=3))
def test_for_more_objectives_the_kept_set_is_within_the_greedy_bound(case: tuple[Floats, Floats]) -> None:
    values, tolerance = case
    front = np.unique(values[non_dominated_mask(values)], axis=0)
    assume(len(front) > 0)
    count = int(epsilon_front_mask(values, tolerance).sum())
    smallest = next(
        fewer
        for fewer in range(1, len(front) + 1)
        if any(
            _represent_all(front[list(chosen)], front, tolerance) for chosen in combinations(range(len(front)), fewer)
        )
    )
    assert smallest <= count <= smallest * (1.0 + math.log(len(front)))


@given(_cases(), st.randoms(use_true_random=False))
def test_the_kept_points_do_not_depend_on_the_order_of_the_rows(
    case: tuple[Floats, Floats], random: st.DataObject
) -> None:
    values, tolerance = case
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    there = np.unique(values[epsilon_front_mask(values, tolerance)], axis=0)
    shuffled = values[order]
    np.testing.assert_array_equal(there, np.unique(shuffled[epsilon_front_mask(shuffled, tolerance)], axis=0))


def test_a_line_is_thinned_to_its_middle_points() -> None:
    values = np.array([[float(x), 9.0 - x] for x in range(10)])
    assert np.flatnonzero(epsilon_front_mask(values, [1.0, 1.0])).tolist() == [1, 4, 7, 9]
    assert np.flatnonzero(epsilon_front_mask(values, [0.0, 2.0])).tolist() == [0, 3, 6, 9]
    assert epsilon_front_mask(values, [0.0, 0.0]).all()


@pytest.mark.parametrize("width", [2, 3, 4])
def test_a_large_front_is_thinned(width: int) -> None:
    values = make_points(10_000, width, "front")
    assert 1 < epsilon_front_mask(values, [0.05] * width).sum() < 1000


@pytest.mark.parametrize("tolerance", [[0.1], [0.1, -0.1], [0.1, float("nan")]])
def test_a_tolerance_is_one_number_of_at_least_0_per_objective(tolerance: list[float]) -> None:
    with pytest.raises(ValueError, match="tolerance"):
        epsilon_front_mask(np.array([[1.0, 2.0]]), tolerance)


@given(_cases(), st.data())
def test_the_indicator_equals_its_definition(case: tuple[Floats, Floats], data: st.DataObject) -> None:
    values, width = case[0], case[1].shape[0]
    other = data.draw(arrays(np.float64, st.tuples(st.integers(0, 6), st.just(width)), elements=_COORDINATES))
    known, known_other = (rows[~np.isnan(rows).any(axis=1)] for rows in (values, other))
    if not len(known) or not len(known_other):
        with pytest.raises(ValueError, match="epsilon indicator"):
            epsilon_indicator(values, other)
        return
    expected = max(min(max(a - b) for a in known) for b in known_other)
    found = epsilon_indicator(values, other)
    assert found == expected
    moved = known - found
    assert all(any((row <= b).all() for row in moved) for b in known_other)


def test_tolerances_of_costs_are_shares() -> None:
    objectives = [get_objective(name) for name in ("gap_points", "num_params", "agreement")]
    found = tolerances({"num_params": 0.1, "agreement": 0.02}, objectives)
    np.testing.assert_allclose(found, [0.0, math.log10(1.1), 0.02])


@pytest.mark.parametrize(
    ("epsilon", "code"),
    [
        ({"macs": 1.0}, "analysis.unknown_name"),
        ({"gap_points": -1.0}, "analysis.tolerance_out_of_range"),
        ({"gap_points": math.inf}, "analysis.tolerance_out_of_range"),
        ({"num_params": math.nan}, "analysis.tolerance_out_of_range"),
    ],
)
def test_invalid_tolerances_are_rejected(epsilon: dict[str, float], code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tolerances(epsilon, [get_objective(name) for name in ("gap_points", "num_params")])
    assert (caught.value.code, caught.value.field) == (code, "--epsilon")
