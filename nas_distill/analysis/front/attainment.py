"""Which trade-offs how many of several searches reached: the empirical attainment function."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np

from nas_distill.analysis.front.arithmetic import Floats, known_rows

LEVELS = (25.0, 50.0, 75.0)
MOST_OBJECTIVES = 3
"""moocore computes attainment of two and of three objectives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttainmentSurface:
    """The best that a share of the searches reached.

    Attributes:
        level: Percent, above 0, to 100.
        searches: How many that is, of all: the level's share of them, rounded up.
        points: Minimised values [K, M], sorted by the first objective; a search reaches a point when some student of
            its is nowhere worse. Empty when fewer searches have a student at all.
    """

    level: float
    searches: int
    points: Floats


def attainment_surfaces(sets: Sequence[Floats], levels: Sequence[float] = LEVELS) -> tuple[AttainmentSurface, ...]:
    """Returns the attainment surface of each level, by moocore's exact algorithm.

    The surface of p percent is the set of non-dominated points that at least p percent of the sets weakly dominate
    (Grunert da Fonseca, Fonseca and Hall 2001, EMO, LNCS 1993; Fonseca, Guerreiro, Lopez-Ibanez and Paquete 2011, EMO,
    LNCS 6576). At 50 it is the median front; a search is to be expected on either side of it.

    Args:
        sets: One array [N, M] of minimised values per search, of two or three objectives; rows with NaN are left out,
            and a set may be empty: that search reached nothing.
        levels: Percent, each above 0 and at most 100.

    Raises:
        ValueError: There is no set, the sets have other than two or three objectives, or a level is out of range.
    """
    known = [known_rows(values) for values in sets]
    widths = {values.shape[1] for values in known}
    if len(widths) != 1 or not widths <= {2, MOST_OBJECTIVES}:
        raise ValueError(f"sets of {sorted(widths)} objectives; sets of the same two or three are needed")
    if not all(0.0 < level <= 100.0 for level in levels):
        raise ValueError(f"levels {list(levels)}; each must be above 0 and at most 100 percent")
    filled = [values for values in known if len(values)]
    # A hair is taken off so that 3 * (100 / 3) percent are not rounded up to the next search.
    wanted = [math.ceil(len(known) * level / 100.0 - 1e-9) for level in levels]
    return tuple(
        AttainmentSurface(level=float(level), searches=count, points=_reached_by(filled, count, widths.copy().pop()))
        for level, count in zip(levels, wanted, strict=True)
    )


def _reached_by(filled: Sequence[Floats], count: int, width: int) -> Floats:
    """Returns the non-dominated points that at least `count` of the sets weakly dominate."""
    if count > len(filled):
        return np.empty((0, width))
    members = np.repeat(np.arange(1, len(filled) + 1), [len(values) for values in filled])
    found = moocore.eaf(np.concatenate(filled), members, percentiles=[100.0 * count / len(filled)])
    points: Floats = np.unique(np.asarray(found, dtype=np.float64)[:, :-1], axis=0)
    return points
