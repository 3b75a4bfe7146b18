"""Which trials of a rung are better than a given one: the rules of early stopping, by name. Plain arithmetic.

Size is known before training, so a rule that looks at quality alone stops small students because large ones are more
accurate. Every rule here compares a student with those it competes with.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import moocore
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from nas_distill.analysis.front.arithmetic import Floats
from nas_distill.errors import ConfigError, nearest_names
from nas_distill.objectives import Objective

NO_RULE = "none"
"""No trial is stopped."""

_REFERENCE = 1.1
"""Corner of the hypervolume on axes scaled to [0, 1]: just beyond the worst, so that the ends of a layer count too."""

_DIGITS = 9
"""Decimals of scaled coordinates: what differs by less was told apart by rounding."""


class RungOrder(Protocol):
    """How a rule compares the entries of a rung."""

    def __call__(self, values: Floats, index: int, enough: int) -> int:
        """Returns how many rows are strictly better than one of them; equal rows are as good as one another.

        Args:
            values: Minimised coordinates of all objectives, as `analysis.pareto.axes` makes them, [N, M], finite.
            index: Which row.
            enough: A count from which on more of them make no difference; counting may end there.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule by which weak trials are told from others.

    Attributes:
        name: What the configuration calls it.
        order: Makes it for the objectives of a search.
        two_objectives: Whether it compares one quality with one cost, and nothing else.
    """

    name: str
    order: Callable[[Sequence[Objective]], RungOrder]
    two_objectives: bool


class RuleRegistry:
    """Rules by name; a name is registered once."""

    def __init__(self) -> None:
        self._rules: dict[str, Rule] = {}

    def register(
        self, name: str, order: Callable[[Sequence[Objective]], RungOrder], *, two_objectives: bool = False
    ) -> None:
        """Adds a rule, see `Rule`.

        Raises:
            ValueError: The name is taken, or means that there is no rule.
        """
        if name in self._rules or name == NO_RULE:
            raise ValueError(f"a rule called '{name}' is registered already")
        self._rules[name] = Rule(name=name, order=order, two_objectives=two_objectives)

    def names(self) -> tuple[str, ...]:
        """Returns all names, sorted."""
        return tuple(sorted(self._rules))

    def order(self, name: str, objectives: Sequence[Objective]) -> RungOrder:
        """Returns how the rule called `name` compares trials with these objectives.

        Raises:
            ConfigError: There is no such rule, or it cannot compare them.
        """
        rule = self._rules.get(name)
        if rule is None:
            raise ConfigError(f"asha.rule: no rule is called '{name}'; {nearest_names(name, [*self._rules, NO_RULE])}")
        kinds = sorted(objective.kind for objective in objectives)
        if rule.two_objectives and kinds != ["cost", "quality"]:
            names = ", ".join(objective.name for objective in objectives)
            others = " or ".join(f"--asha {other.name}" for other in self._rules.values() if not other.two_objectives)
            raise ConfigError(
                f"asha.rule: '{name}' compares one quality with one cost, and the objectives are {names}; take two of "
                f"them, or {others}"
            )
        return rule.order(objectives)


def _leading_quality(objectives: Sequence[Objective]) -> int:
    return next(column for column, objective in enumerate(objectives) if objective.kind == "quality")


Picks = Callable[[Floats], Iterator[int]]
"""Goes through the rows [N, M] of a layer, the best first; they are distinct, on scaled axes, and sorted."""


def _layered(picks: Picks) -> Callable[[Sequence[Objective]], RungOrder]:
    return lambda objectives: partial(_count_layered, picks=picks, lead=_leading_quality(objectives))


def _count_layered(values: Floats, index: int, enough: int, *, picks: Picks, lead: int) -> int:
    """Counts the rows of better non-dominated layers, and those picked earlier in the row's own layer.

    Layers: Deb et al. 2002, "A fast and elitist multiobjective genetic algorithm: NSGA-II". A row's layer is better
    than those of all rows that it dominates.
    """
    values = np.concatenate((values[:, lead, None], np.delete(values, lead, axis=1)), axis=1)
    layers = moocore.pareto_rank(values)
    better = int((layers < layers[index]).sum())
    if better >= enough:
        return better
    members = np.flatnonzero(layers == layers[index])
    # Equal rows are one, and sorted ones do not show who came first.
    rows, place, count = np.unique(values[members], axis=0, return_inverse=True, return_counts=True)
    own = place.reshape(-1)[np.searchsorted(members, index)]
    low, span = values.min(axis=0), np.ptp(values, axis=0)
    for row in picks(np.round((rows - low) / np.where(span > 0.0, span, 1.0), _DIGITS)):
        if row == own or better >= enough:
            break
        better += int(count[row])
    return better


def _farthest_first(rows: Floats) -> Iterator[int]:
    """Begins at the best quality, and goes on with the row that is farthest from all before: an epsilon-net.

    Schmucker et al. 2021, "Multi-objective asynchronous successive halving" (arXiv 2106.12639), section 3.
    """
    columns = np.ascontiguousarray(rows.T)
    distance = np.full(len(rows), np.inf)
    row = 0
    for _ in range(len(rows)):
        yield row
        # Column by column: a sum along so short an axis as the objectives' takes several times as long.
        np.minimum(distance, sum((column - column[row]) ** 2 for column in columns), out=distance)
        distance[row] = -1.0
        row = int(distance.argmax())


def _largest_volume_first(rows: Floats) -> Iterator[int]:
    """Begins at the row with the largest hypervolume, and goes on with the one that adds most to those before."""
    return _largest_area_first(rows) if rows.shape[1] == 2 else _lazily_largest_first(rows)


def _largest_area_first(rows: Floats) -> Iterator[int]:
    """Does so for two objectives.

    Along a layer the second falls as the first rises, so that what a row adds is a rectangle up to its neighbours among
    the rows before.
    """
    first, second = rows.T
    right, above = np.full(len(rows), _REFERENCE), np.full(len(rows), _REFERENCE)
    left = np.ones(len(rows), dtype=np.bool_)
    for _ in range(len(rows)):
        row = int(np.where(left, (right - first) * (above - second), -1.0).argmax())
        yield row
        left[row] = False
        np.minimum(right[:row], first[row], out=right[:row])
        np.minimum(above[row + 1 :], second[row], out=above[row + 1 :])


def _lazily_largest_first(rows: Floats) -> Iterator[int]:
    """Does so for any number of objectives.

    What a row adds never grows as others are picked (hypervolume is submodular; Ulrich and Thiele 2012, "Bounding the
    effectiveness of hypervolume-based (mu + lambda)-archiving algorithms"), so that only rows which may be next are
    weighed again (Minoux 1978, "Accelerated greedy algorithms for maximizing submodular set functions").
    """
    corner = np.full(rows.shape[1], _REFERENCE)
    bounds = [(-float(volume), row) for row, volume in enumerate(np.prod(corner - rows, axis=1))]
    heapq.heapify(bounds)
    picked: list[int] = []
    volume = 0.0
    while bounds:
        _, row = bounds[0]
        added = float(moocore.hypervolume(rows[[*picked, row]], ref=corner)) - volume
        heapq.heapreplace(bounds, (-round(added, _DIGITS), row))
        if bounds[0][1] == row:
            heapq.heappop(bounds)
            picked.append(row)
            volume += added
            yield row


def _residual(objectives: Sequence[Objective]) -> RungOrder:
    return partial(_count_residual, lead=_leading_quality(objectives))


def _count_residual(values: Floats, index: int, enough: int, *, lead: int) -> int:
    """Counts the rows that are better than is usual at their size by more than this one."""
    del enough
    quality, cost = values[:, lead], values[:, 1 - lead]
    span = np.ptp(quality)
    scaled = (quality - quality.min()) / (span if span > 0.0 else 1.0)
    residual: NDArray[np.float64] = np.round(scaled - usual_quality(cost, scaled), _DIGITS)
    return int((residual < residual[index]).sum())


def usual_quality(cost: Floats, quality: Floats) -> Floats:
    """Returns the quality that is usual at each entry's cost: a robust fit that never rises with cost.

    Running medians of both over the entries in order of cost, about two thirds of the square root of N at a time, then
    the nearest non-increasing sequence (isotonic regression; Barlow et al. 1972, "Statistical inference under order
    restrictions"), linear in between. Beyond the medians' ends it goes on with the slope from end to end: were it flat
    there, the smallest student would have to be as good as the next larger ones.

    Since it never rises, an entry that dominates another has no larger residual.

    Args:
        cost: [N], logarithms where ratios count.
        quality: Minimised, [N].

    Returns:
        [N], in the quality's unit.
    """
    order = np.lexsort((quality, cost))
    cost_sorted, quality_sorted = cost[order], quality[order]
    width = 2 * int(len(cost) ** 0.5 / 3.0) + 1
    windows = np.lib.stride_tricks.sliding_window_view(np.stack((cost_sorted, quality_sorted)), width, axis=1)
    knots, medians = np.median(windows, axis=2)
    levels = isotonic_regression(medians, increasing=False).x
    reach = knots[-1] - knots[0]
    slope = (levels[-1] - levels[0]) / reach if reach > 0.0 else 0.0
    fit = np.interp(cost_sorted, knots, levels)
    fit += slope * (np.minimum(cost_sorted - knots[0], 0.0) + np.maximum(cost_sorted - knots[-1], 0.0))
    usual = np.empty_like(fit)
    usual[order] = np.minimum.accumulate(fit)  # rounding may have let it rise by a last bit
    return usual


RULES = RuleRegistry()
RULES.register("layers", _layered(_farthest_first))
RULES.register("volume", _layered(_largest_volume_first))
RULES.register("residual", _residual, two_objectives=True)
