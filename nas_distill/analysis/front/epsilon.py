"""Epsilon dominance: represent a front by fewer students, and measure how far one front falls short of another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heapreplace

import moocore
import numpy as np
from numpy.typing import NDArray

from nas_distill.analysis.front.arithmetic import Floats, known_rows, non_dominated_mask
from nas_distill.errors import ConfigError, nearest_names
from nas_distill.objectives import Objective


def tolerances(epsilon: Mapping[str, float], objectives: Sequence[Objective]) -> Floats:
    """Return the tolerances of objectives on minimised coordinates (see `arithmetic.axes`).

    Args:
        epsilon: Tolerances by name of objective. For an objective on a linear scale, a difference in its own unit; on a
            log10 scale, a share, so that 0.1 means "a tenth more". Objectives that are not named have 0.
        objectives: M objectives.

    Returns:
        Array [M], each at least 0.

    Raises:
        ConfigError: A name is not one of the objectives, or a value is negative or not finite.
    """
    names = [objective.name for objective in objectives]
    for name, value in epsilon.items():
        if name not in names:
            raise ConfigError(
                f"'{name}' is not one of the objectives; {nearest_names(name, names)}",
                code="analysis.unknown_name",
                field="--epsilon",
            )
        if not (math.isfinite(value) and value >= 0.0):
            raise ConfigError(
                f"{name}={value} must be a finite number of at least 0",
                code="analysis.tolerance_out_of_range",
                field="--epsilon",
            )
    given = [epsilon.get(name, 0.0) for name in names]
    return np.array(
        [
            math.log10(1.0 + value) if objective.scale == "log10" else value
            for value, objective in zip(given, objectives, strict=True)
        ]
    )


def epsilon_front_mask(values: Floats, tolerance: Sequence[float] | Floats) -> NDArray[np.bool_]:
    """Mark members of the front so that every member is within the tolerance of a marked one in every objective.

    Row k represents row f if k_i <= f_i + tolerance_i for every objective i. The result is an epsilon-Pareto set that
    is a subset of the front (Laumanns, Thiele, Deb and Zitzler 2002, "Combining convergence and diversity in
    evolutionary multiobjective optimization", Evolutionary Computation 10(3), definition 4, additive). Unlike their
    archive, it does not depend on the order of the rows or on the origin of a grid. For two objectives it is the
    smallest such set: each member represents an interval of the front, and one sweep finds the fewest intervals. For
    more objectives the smallest set is a set cover, which is NP-hard. The greedy algorithm, which adds the member that
    represents most of the remaining rows, needs at most 1 + ln N times as many (Chvatal 1979, Mathematics of Operations
    Research 4(3)).

    Args:
        values: Minimised values [N, M].
        tolerance: Tolerance of each objective [M], at least 0. If all are 0, the front is kept, equal rows once.

    Returns:
        Mask [N]. Of equivalent rows the first in the order of the objectives is marked; of equal rows the first.
    """
    front = np.flatnonzero(non_dominated_mask(values))
    distinct, first = np.unique(np.asarray(values, dtype=np.float64)[front], axis=0, return_index=True)
    allowed = np.asarray(tolerance, dtype=np.float64)
    if allowed.shape != (distinct.shape[1],) or not (allowed >= 0.0).all():
        raise ValueError(f"tolerance is {allowed}; pass one number of at least 0 per objective")
    mask = np.zeros(len(values), dtype=np.bool_)
    if not allowed.any():
        mask[front[first]] = True
        return mask
    cover = _sweep if distinct.shape[1] == 2 else _greedy_cover
    mask[front[first[cover(distinct, allowed)]]] = True
    return mask


def epsilon_indicator(values: Floats, other: Floats) -> float:
    """Return the additive epsilon indicator: the smallest shift after which `values` weakly dominates `other`.

    It is the maximum over b in `other` of the minimum over a in `values` of max_i (a_i - b_i) (Zitzler, Thiele,
    Laumanns, Fonseca and Grunert da Fonseca 2003, "Performance assessment of multiobjective optimizers", IEEE
    Transactions on Evolutionary Computation 7(2)). It is not symmetric. A value of at most 0 means that every row of
    `other` is reached. Scale axes of different units first.

    Args:
        values: Minimised values [N, M]. Rows with NaN are ignored.
        other: Minimised values of another set [K, M].

    Raises:
        ValueError: One of the sets has no row without NaN.
    """
    values, other = known_rows(values), known_rows(other)
    if not len(values) or not len(other):
        raise ValueError("an epsilon indicator needs at least one row without NaN in each set")
    return float(moocore.epsilon_additive(values, ref=other))


def _sweep(front: Floats, tolerance: Floats) -> list[int]:
    """Return the fewest rows that represent all of a front of two objectives, sorted by the first."""
    # The first objective rises along the front and the second falls.
    farthest = np.searchsorted(front[:, 0], front[:, 0] + tolerance[0], side="right") - 1
    reach = np.searchsorted(-(front[:, 1] + tolerance[1]), -front[:, 1], side="right") - 1
    kept, next_row = [], 0
    while next_row < len(front):
        kept.append(int(farthest[next_row]))
        next_row = int(reach[kept[-1]]) + 1
    return kept


def _greedy_cover(front: Floats, tolerance: Floats) -> list[int]:
    """Return rows that represent all of a front; each is the one that represents most of the remaining rows."""
    left = np.ascontiguousarray((front + tolerance).T)  # [M, rows not represented yet]
    heap = [(-int(np.count_nonzero(_represented(row, left))), index) for index, row in enumerate(front)]
    heapify(heap)
    kept = []
    while left.shape[1]:
        # Counts only decrease, so a count that is still correct at the top of the heap is the largest (lazy greedy:
        # Minoux 1978, "Accelerated greedy algorithms for maximizing submodular set functions").
        old_count, best = heap[0]
        represented = _represented(front[best], left)
        count = int(np.count_nonzero(represented))
        if count == -old_count:
            kept.append(best)
            left = left[:, ~represented]
        if count in {0, -old_count}:
            heappop(heap)
        else:
            heapreplace(heap, (-count, best))
    return kept


def _represented(row: Floats, allowed: Floats) -> NDArray[np.bool_]:
    """Mark the columns of `allowed` [M, K], coordinates plus tolerance, that `row` [M] represents."""
    marked: NDArray[np.bool_] = row[0] <= allowed[0]
    for value, bounds in zip(row[1:], allowed[1:], strict=True):
        marked &= value <= bounds
    return marked
