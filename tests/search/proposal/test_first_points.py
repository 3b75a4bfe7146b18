"""The students that a search tries first, with the shipped spaces and real teachers."""

from __future__ import annotations

import pytest

from nas_distill.config import SpaceConfig
from nas_distill.records import FROM_TEACHER, RANDOM, Recipe, SpaceContext, TeacherShape
from nas_distill.records.network_shape import NetworkShape
from nas_distill.search.proposal.costs import CostEstimator
from nas_distill.search.proposal.first_points import plan_first_points
from nas_distill.search.proposal.initial_points import Point
from nas_distill.search.proposal.limits import Limits
from nas_distill.search.samplers.space_sampling import build_point
from nas_distill.search.setup.initial_weights import choose_initial_weights
from nas_distill.search.spaces.loading import load_space

SHAPE = NetworkShape(num_classes=10, channels=1, image_size=32)
TEACHER = TeacherShape(
    architecture="small_resnet",
    arguments={"widths": (64, 128, 256), "depths": (1, 2, 1)},
    num_params=1_600_000,
    macs=200_000_000,
    image_size=32,
)


COSTS = CostEstimator(SHAPE)


def context_of(max_params: int | None = None) -> SpaceContext:
    return SpaceContext(num_classes=10, channels=1, image_size=32, teacher=TEACHER, max_params=max_params)


def points_of(space: str, max_params: int | None, allowed: tuple[str, ...]) -> tuple[Point, ...]:
    context = context_of(max_params)
    chooser = choose_initial_weights(SpaceConfig(initial_weights=allowed), context)
    return plan_first_points(
        load_space(space),
        context,
        initial_weights=chooser,
        limits=Limits(max_params=max_params),
        costs=COSTS,
        recipe=Recipe(),
    )


@pytest.mark.parametrize("space", ["teacher", "auto"])
def test_a_search_first_tries_three_sizes_of_the_teacher_with_its_weights(space: str) -> None:
    points = points_of(space, 400_000, (RANDOM, FROM_TEACHER))
    specs = [build_point(load_space(space), without_weights(point), context_of(400_000)) for point in points]
    params = [COSTS.cost(spec, Recipe()).num_params for spec in specs]
    assert [point["initial_weights"] for point in points] == [FROM_TEACHER] * 3
    assert 200_000 < params[0] <= 400_000
    assert params[0] > 2 * params[1] > 4 * params[2]
    assert all(spec.arguments["depths"] == (1, 2, 1) for spec in specs)


def test_there_are_no_first_points_without_weights_of_the_teacher() -> None:
    assert points_of("teacher", None, (RANDOM,)) == ()
    assert points_of("mobilenet", None, (RANDOM, FROM_TEACHER)) == ()  # its networks are of another architecture


def test_a_limit_below_every_student_leaves_no_first_point() -> None:
    assert points_of("teacher", 100, (RANDOM, FROM_TEACHER)) == ()


def test_weights_that_are_not_a_choice_are_not_part_of_a_point() -> None:
    assert all("initial_weights" not in point for point in points_of("teacher", None, (FROM_TEACHER,)))


def without_weights(point: Point) -> Point:
    return {name: value for name, value in point.items() if name != "initial_weights"}
