"""Epsilon-dominance: a front in fewer students, and how far one front falls short of another."""

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
    """Returns what a difference may be, per objective, on minimised coordinates (see `pareto.axes`).

    Args:
        epsilon: By name of objective: for one on a linear scale a difference in its own unit, for one on a log10
            scale a share, so that 0.1 is "a tenth more". Objectives that are not named have 0.
        objectives: M objectives.

    Returns:
        Array [M], each at least 0.

    Raises:
        ConfigError: A name is none of the objectives', or a value is negative or not finite.
    """
    names = [objective.name for objective in objectives]
    for name, value in epsilon.items():
        if name not in names:
            raise ConfigError(f"--epsilon {name}: is none of the objectives; {nearest_names(name, names)}")
        if not (math.isfinite(value) and value >= 0.0):
            raise ConfigError(f"--epsilon {name}={value}: must be a finite number of at least 0")
    given = [epsilon.get(name, 0.0) for name in names]
    return np.array(
        [
            math.log10(1.0 + value) if objective.scale == "log10" else value
            for value, objective in zip(given, objectives, strict=True)
        ]
    )


def epsilon_front_mask(values: Floats, tolerance: Sequence[float] | Floats) -> NDArray[np.bool_]:
    """Marks members of the front such that each member is within the tolerance, per objective, of a marked one.

    Row k stands for row f when k_i <= f_i + tolerance_i for every objective i: an epsilon-Pareto set that is a subset
    of the front (Laumanns, Thiele, Deb and Zitzler 2002, "Combining convergence and diversity in evolutionary
    multiobjective optimization", Evolutionary Computation 10(3), definition 4, additive). Unlike their archive it does
    not depend on the order of the rows or on where a grid begins. For two objectives it is the smallest such set: each
    member stands for an interval of the front, and the fewest intervals are found in one sweep. For more, where the
    smallest is a set cover (NP-hard), the member that stands for most of those left is taken each time, at most
    1 + ln N times as many as needed (Chvatal 1979, Mathematics of Operations Research 4(3)).

    Args:
        values: Minimised values [N, M].
        tolerance: Per objective [M], at least 0. All 0 keeps the front, equal rows once.

    Returns:
        Mask [N]; of rows that would do equally well the first in the order of the objectives, of equal rows the first.
    """
    front = np.flatnonzero(non_dominated_mask(values))
    distinct, first = np.unique(np.asarray(values, dtype=np.float64)[front], axis=0, return_index=True)
    allowed = np.asarray(tolerance, dtype=np.float64)
    if allowed.shape != (distinct.shape[1],) or not (allowed >= 0.0).all():
        raise ValueError(f"tolerance is {allowed}; one number of at least 0 per objective is needed")
    mask = np.zeros(len(values), dtype=np.bool_)
    if not allowed.any():
        mask[front[first]] = True
        return mask
    cover = _sweep if distinct.shape[1] == 2 else _greedy_cover
    mask[front[first[cover(distinct, allowed)]]] = True
    return mask


def epsilon_indicator(values: Floats, other: Floats) -> float:
    """Returns the additive epsilon indicator: the least by which `values` must move to be nowhere behind `other`.

    max over b in `other` of min over a in `values` of max over i of (a_i - b_i) (Zitzler, Thiele, Laumanns, Fonseca and
    Grunert da Fonseca 2003, "Performance assessment of multiobjective optimizers", IEEE Transactions on Evolutionary
    Computation 7(2)). It is not symmetric; at most 0 says that every row of `other` is reached. Axes of different units
    are to be scaled first.

    Args:
        values: Minimised values [N, M]; rows with NaN are left out.
        other: The same of another set.

    Raises:
        ValueError: No row is left on one side.
    """
    values, other = known_rows(values), known_rows(other)
    if not len(values) or not len(other):
        raise ValueError("an epsilon indicator needs at least one row on either side")
    return float(moocore.epsilon_additive(values, ref=other))


def _sweep(front: Floats, tolerance: Floats) -> list[int]:
    """Returns the fewest rows that stand for all of a front of two objectives, sorted by the first."""
    # The first objective rises along the front and the second falls.
    farthest = np.searchsorted(front[:, 0], front[:, 0] + tolerance[0], side="right") - 1
    reach = np.searchsorted(-(front[:, 1] + tolerance[1]), -front[:, 1], side="right") - 1
    kept, waiting = [], 0
    while waiting < len(front):
        kept.append(int(farthest[waiting]))
        waiting = int(reach[kept[-1]]) + 1
    return kept


def _greedy_cover(front: Floats, tolerance: Floats) -> list[int]:
    """Returns rows that stand for all of a front, each the one that stands for most of those left."""
    left = np.ascontiguousarray((front + tolerance).T)  # [M, those that nobody stands for yet]
    heap = [(-int(np.count_nonzero(_stood_for(row, left))), index) for index, row in enumerate(front)]
    heapify(heap)
    kept = []
    while left.shape[1]:
        # Counts only fall, so that one which still holds when it comes to the top is the largest (lazy greedy: Minoux
        # 1978, "Accelerated greedy algorithms for maximizing submodular set functions").
        promised, best = heap[0]
        stood_for = _stood_for(front[best], left)
        count = int(np.count_nonzero(stood_for))
        if count == -promised:
            kept.append(best)
            left = left[:, ~stood_for]
        if count in {0, -promised}:
            heappop(heap)
        else:
            heapreplace(heap, (-count, best))
    return kept


def _stood_for(row: Floats, allowed: Floats) -> NDArray[np.bool_]:
    """Marks those of `allowed` [M, K], coordinates and tolerance together, that `row` [M] stands for."""
    marked: NDArray[np.bool_] = row[0] <= allowed[0]
    for value, bounds in zip(row[1:], allowed[1:], strict=True):
        marked &= value <= bounds
    return marked
