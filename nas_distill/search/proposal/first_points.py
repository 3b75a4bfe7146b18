"""Choose students that a search tries first: the teacher scaled down, each started from the teacher's weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas_distill.errors import SpaceError
from nas_distill.records import FROM_TEACHER, Cost, Recipe, SpaceContext, StudentSpec
from nas_distill.search.proposal.costs import CostEstimator
from nas_distill.search.proposal.initial_points import Point
from nas_distill.search.proposal.initial_weights import InitialWeightsChooser
from nas_distill.search.proposal.limits import Limits
from nas_distill.search.samplers.space_sampling import build_point
from nas_distill.search.spaces.loading import Space

_COUNT = 3


def plan_first_points(
    space: Space,
    context: SpaceContext,
    *,
    initial_weights: InitialWeightsChooser,
    limits: Limits,
    costs: CostEstimator,
    recipe: Recipe,
) -> tuple[Point, ...]:
    """Return up to three points of a space that start from the teacher: the largest, a middle and the smallest one.

    A sampler knows nothing at first, and few of its random candidates can be cut from the teacher. Points are left out
    that exceed a limit or do not fit the teacher's weights.

    Args:
        space: Space of the search; without `first_points`, there are none.
        context: Data, teacher and limits of the search.
        initial_weights: Chooses the weights that a candidate starts from.
        limits: Bounds on the cost of a candidate. Those on latency and throughput are ignored here.
        costs: Measures the cost of candidates.
        recipe: The configuration's recipe.
    """
    fitting: list[Point] = []
    for point in space.first_points(context) if space.first_points is not None else ():
        try:
            spec = build_point(space, point, context)
            choice = initial_weights.choice_of(spec, FROM_TEACHER)
            if choice is not None and limits.rejection(_cost(costs, spec, recipe)) is None:
                fitting.append({**point, **choice})
        except SpaceError:  # one network cannot be built
            continue
    return _spread(fitting)


def _cost(costs: CostEstimator, spec: StudentSpec, recipe: Recipe) -> Cost:
    return costs.cost(spec.model_copy(update={"initial_weights": FROM_TEACHER}), recipe)


def _spread(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return the first point, the last one and one between."""
    indices = np.linspace(0, len(points) - 1, min(_COUNT, len(points))).round().astype(int)
    return tuple(points[index] for index in indices)
