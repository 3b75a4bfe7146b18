"""The rules of early stopping, by name: how many entries of a rung are better than a given one.

A rule that compares quality alone stops small students, because large students are more accurate. Size is known before
training, so the rules here compare a student with students of similar size or on the same non-dominated layer.
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
"""Name in the configuration for a search that stops no trial early."""

_REFERENCE = 1.1
"""Reference point of the hypervolume on axes scaled to [0, 1]; above 1, so that the ends of a layer have a volume."""

_DIGITS = 9
"""Decimals of scaled coordinates. Smaller differences are rounding errors."""


class RungOrder(Protocol):
    """Comparison of the entries of a rung, for the objectives of one search."""

    def __call__(self, values: Floats, index: int, enough: int) -> int:
        """Return how many rows are strictly better than a given one; equal rows are equally good.

        Args:
            values: Minimised coordinates (`analysis.front.arithmetic.coordinates`), [N, M], finite.
            index: Index of the given row, 0 to N - 1.
            enough: Count at which counting may end; the caller treats all larger counts alike.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """An early-stopping rule.

    Attributes:
        name: Name in the configuration (`asha.rule`).
        order: Function that returns the rule's comparison for the objectives of a search.
        two_objectives: Whether the rule requires exactly one quality and one cost.
    """

    name: str
    order: Callable[[Sequence[Objective]], RungOrder]
    two_objectives: bool


class RuleRegistry:
    """Early-stopping rules by name."""

    def __init__(self) -> None:
        self._rules: dict[str, Rule] = {}

    def register(
        self, name: str, order: Callable[[Sequence[Objective]], RungOrder], *, two_objectives: bool = False
    ) -> None:
        """Add a rule.

        Args:
            name: Name in the configuration (`asha.rule`).
            order: Function that returns the rule's comparison for the objectives of a search.
            two_objectives: Whether the rule requires exactly one quality and one cost.

        Raises:
            ValueError: The name is already registered, or is "none".
        """
        if name in self._rules or name == NO_RULE:
            raise ValueError(f"an early-stopping rule called '{name}' is already registered; choose another name")
        self._rules[name] = Rule(name=name, order=order, two_objectives=two_objectives)

    def names(self) -> tuple[str, ...]:
        """Return the registered names, sorted."""
        return tuple(sorted(self._rules))

    def order(self, name: str, objectives: Sequence[Objective]) -> RungOrder:
        """Return the comparison of the rule called `name` for the objectives of a search.

        Args:
            name: Registered name.
            objectives: Objectives of the search, in the order of the coordinates.

        Raises:
            ConfigError: The rule does not exist, or requires other objectives.
        """
        rule = self._rules.get(name)
        if rule is None:
            raise ConfigError(
                f"unknown rule '{name}'; {nearest_names(name, [*self._rules, NO_RULE])}",
                code="search.unknown_rule",
                field="asha.rule",
            )
        kinds = sorted(objective.kind for objective in objectives)
        if rule.two_objectives and kinds != ["cost", "quality"]:
            names = ", ".join(objective.name for objective in objectives)
            others = " or ".join(f"--asha {other.name}" for other in self._rules.values() if not other.two_objectives)
            raise ConfigError(
                f"'{name}' requires one quality and one cost; the objectives are {names}: choose two of them, or set "
                f"{others}",
                code="search.rule_objectives",
                field="asha.rule",
            )
        return rule.order(objectives)


def _leading_quality(objectives: Sequence[Objective]) -> int:
    return next(column for column, objective in enumerate(objectives) if objective.kind == "quality")


LayerOrder = Callable[[Floats], Iterator[int]]
"""Function that yields the row indices of a layer, best first. The rows [N, M] are distinct, scaled to [0, 1] and
sorted."""


def _layered(order: LayerOrder) -> Callable[[Sequence[Objective]], RungOrder]:
    return lambda objectives: partial(_count_layered, order=order, lead=_leading_quality(objectives))


def _count_layered(values: Floats, index: int, enough: int, *, order: LayerOrder, lead: int) -> int:
    """Count the rows on better non-dominated layers, and those that precede the row on its own layer.

    Layers: Deb et al. 2002, "A fast and elitist multiobjective genetic algorithm: NSGA-II". A row is on a better layer
    than every row that it dominates.
    """
    values = np.concatenate((values[:, lead, None], np.delete(values, lead, axis=1)), axis=1)
    layers = moocore.pareto_rank(values)
    better = int((layers < layers[index]).sum())
    if better >= enough:
        return better
    members = np.flatnonzero(layers == layers[index])
    # Merging equal rows and sorting them makes the count independent of the order of arrival.
    rows, place, count = np.unique(values[members], axis=0, return_inverse=True, return_counts=True)
    own = place.reshape(-1)[np.searchsorted(members, index)]
    low, span = values.min(axis=0), np.ptp(values, axis=0)
    for row in order(np.round((rows - low) / np.where(span > 0.0, span, 1.0), _DIGITS)):
        if row == own or better >= enough:
            break
        better += int(count[row])
    return better


def _farthest_first(rows: Floats) -> Iterator[int]:
    """Yield the row of best quality, then always the row that is farthest from all rows yielded: an epsilon-net.

    Schmucker et al. 2021, "Multi-objective asynchronous successive halving" (arXiv 2106.12639), section 3.
    """
    columns = np.ascontiguousarray(rows.T)
    distance = np.full(len(rows), np.inf)
    row = 0
    for _ in range(len(rows)):
        yield row
        # Column by column: NumPy's sum along an axis of two or three elements takes several times as long.
        np.minimum(distance, sum((column - column[row]) ** 2 for column in columns), out=distance)
        distance[row] = -1.0
        row = int(distance.argmax())


def _largest_volume_first(rows: Floats) -> Iterator[int]:
    """Yield the row of largest hypervolume, then always the row that adds most hypervolume to all rows yielded."""
    return _largest_area_first(rows) if rows.shape[1] == 2 else _lazily_largest_first(rows)


def _largest_area_first(rows: Floats) -> Iterator[int]:
    """Implement `_largest_volume_first` for two objectives.

    Along a layer the second coordinate falls as the first rises. A row therefore adds a rectangle, which its neighbours
    among the rows already yielded bound.
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
    """Implement `_largest_volume_first` for any number of objectives.

    The hypervolume that a row adds never grows as other rows are yielded, because hypervolume is submodular (Ulrich and
    Thiele 2012, "Bounding the effectiveness of hypervolume-based (mu + lambda)-archiving algorithms"). Only the row at
    the top of the heap must be measured again (Minoux 1978, "Accelerated greedy algorithms for maximizing submodular
    set functions").
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
    """Count the rows whose quality exceeds the typical quality at their cost by more than this row's does."""
    del enough
    quality, cost = values[:, lead], values[:, 1 - lead]
    span = np.ptp(quality)
    scaled = (quality - quality.min()) / (span if span > 0.0 else 1.0)
    residual: NDArray[np.float64] = np.round(scaled - typical_quality(cost, scaled), _DIGITS)
    return int((residual < residual[index]).sum())


def typical_quality(cost: Floats, quality: Floats) -> Floats:
    """Return the typical quality at each entry's cost: a robust fit that never rises with cost.

    The fit takes running medians of cost and quality over the entries in order of cost, with windows of about two
    thirds of sqrt(N) entries, then the nearest non-increasing sequence (isotonic regression; Barlow et al. 1972,
    "Statistical inference under order restrictions"), linear between the medians. Beyond the first and last median it
    continues with the mean slope between them: a flat end would require the smallest student to be as good as larger
    ones.

    Because the fit never rises, an entry never has a larger residual than an entry that it dominates.

    Args:
        cost: Minimised costs, logarithmic if ratios matter, [N].
        quality: Minimised qualities, [N].

    Returns:
        Typical quality of each entry, in the unit of `quality`, [N].
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
    typical = np.empty_like(fit)
    typical[order] = np.minimum.accumulate(fit)  # rounding errors may let the fit rise by a last bit
    return typical


RULES = RuleRegistry()
RULES.register("layers", _layered(_farthest_first))
RULES.register("volume", _layered(_largest_volume_first))
RULES.register("residual", _residual, two_objectives=True)
