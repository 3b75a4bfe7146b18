"""The empirical attainment function: the trade-offs that a given share of several searches reached."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np

from nas_distill.analysis.front.arithmetic import Floats, known_rows

LEVELS = (25.0, 50.0, 75.0)
MAX_OBJECTIVES = 3
"""Most objectives for which moocore computes attainment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttainmentSurface:
    """The best trade-offs reached by at least a given share of the searches.

    Attributes:
        level: Share of the searches in percent, above 0, at most 100.
        searches: The same as a number of searches, rounded up.
        points: Minimised values [K, M], sorted by the first objective. A search reaches a point if one of its students
            is nowhere worse. Empty if fewer searches have a student.
    """

    level: float
    searches: int
    points: Floats


def attainment_surfaces(sets: Sequence[Floats], levels: Sequence[float] = LEVELS) -> tuple[AttainmentSurface, ...]:
    """Return the attainment surface of each level, by moocore's exact algorithm.

    The surface of p percent is the set of non-dominated points that at least p percent of the sets weakly dominate
    (Grunert da Fonseca, Fonseca and Hall 2001, EMO, LNCS 1993; Fonseca, Guerreiro, Lopez-Ibanez and Paquete 2011, EMO,
    LNCS 6576). The surface of 50 percent is the median front.

    Args:
        sets: One array [N, M] of minimised values per search, for two or three objectives. Rows with NaN are ignored.
            An empty set stands for a search that reached nothing.
        levels: Shares of the searches in percent, each above 0 and at most 100.

    Raises:
        ValueError: There is no set, the number of objectives is not two or three, or a level is out of range.
    """
    known = [known_rows(values) for values in sets]
    widths = {values.shape[1] for values in known}
    if len(widths) != 1 or not widths <= {2, MAX_OBJECTIVES}:
        raise ValueError(f"the sets have {sorted(widths)} objectives; pass sets with the same two or three objectives")
    if not all(0.0 < level <= 100.0 for level in levels):
        raise ValueError(f"levels {list(levels)}; each must be above 0 and at most 100 percent")
    filled = [values for values in known if len(values)]
    # Without the small offset, 3 * (100 / 3) percent would be rounded up to the next search.
    counts = [math.ceil(len(known) * level / 100.0 - 1e-9) for level in levels]
    return tuple(
        AttainmentSurface(level=float(level), searches=count, points=_reached_by(filled, count, widths.copy().pop()))
        for level, count in zip(levels, counts, strict=True)
    )


def _reached_by(filled: Sequence[Floats], count: int, width: int) -> Floats:
    """Return the non-dominated points that at least `count` of the sets weakly dominate."""
    if count > len(filled):
        return np.empty((0, width))
    members = np.repeat(np.arange(1, len(filled) + 1), [len(values) for values in filled])
    found = moocore.eaf(np.concatenate(filled), members, percentiles=[100.0 * count / len(filled)])
    points: Floats = np.unique(np.asarray(found, dtype=np.float64)[:, :-1], axis=0)
    return points
