"""Paired tests of many quantities at once over few repetitions, by turning the signs of whole repetitions."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_EXACT = 12
"""Repetitions up to which all 2^R patterns of signs are looked at; above, `PATTERNS` seeded ones are drawn."""

PATTERNS = 2**MOST_EXACT
_TIE = 1e-9


def least_repetitions(level: float) -> int:
    """Returns the fewest repetitions R that can be significant at all: 2^-R at most `level` (in (0, 1)); 5 at 0.05."""
    return math.ceil(-math.log2(level) - _TIE)


def sign_patterns(repetitions: int, *, seed: int = 0) -> Floats:
    """Returns patterns of +1 and -1, [P, R], the first one all +1: each of the 2^R once, or `PATTERNS` drawn ones."""
    if repetitions > MOST_EXACT:
        drawn: Floats = np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), size=(PATTERNS, repetitions))
        drawn[0] = 1.0
        return drawn
    bits = np.arange(2**repetitions)[:, None] >> np.arange(repetitions)
    return 1.0 - 2.0 * (bits & 1).astype(np.float64)


def step_down_p_values(differences: Floats, resolution: Floats, *, seed: int = 0) -> Floats:
    """Returns one-sided p values for means above 0, corrected for the number of quantities.

    Where the two arms of a repetition are exchangeable, its differences are as likely with all signs turned: what was
    observed is one of 2^R equally likely sets, and the share p of the sets whose largest statistic is at least the
    observed one is at most alpha with a probability of at most alpha. Quantities are gone through from the largest
    statistic down, each against the largest of those that are left (step-down max-T: Westfall and Young 1993,
    algorithm 4.1; Romano and Wolf 2005, JASA 100). So the chance of one false finding or more stays under the level
    whatever the quantities' dependence, number and spread, and however coarse their values are.

    The statistic decides power alone: mean / (standard error + s0) as in SAM (Tusher et al. 2001, PNAS 98), where s0
    keeps quantities that agree by chance from being the largest. Here s0 is the median, over quantities, of the root
    mean square difference, but at least the quantity's resolution, each over the root of the repetitions.

    Args:
        differences: Of R repetitions and C quantities, [R, C]; NaN where there is none.
        resolution: The least step between two values of a quantity, [C], above 0.
        seed: Of drawn patterns (see `MOST_EXACT`).

    Returns:
        Array [C], each at least 2^-R; NaN for quantities with fewer than two repetitions.
    """
    present = ~np.isnan(differences)
    counts = present.sum(axis=0)
    tested = counts >= 2
    p_values = np.full(differences.shape[1], np.nan)
    if not tested.any():
        return p_values
    values = np.where(present, differences, 0.0)[:, tested]
    found = _statistics(values, counts[tested], resolution[tested], sign_patterns(len(values), seed=seed))
    order = np.argsort(found[0], kind="stable")  # smallest first: the largest among those left is a running maximum
    largest = np.maximum.accumulate(found[:, order], axis=1)
    reached = (largest >= found[0, order] - _TIE).mean(axis=0)
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate(reached[::-1])[::-1]
    p_values[tested] = adjusted
    return p_values


def _statistics(values: Floats, counts: NDArray[np.int64], resolution: Floats, patterns: Floats) -> Floats:
    """Returns mean / (standard error + s0) under each pattern, [P, C]."""
    squares = (values**2).sum(axis=0)  # the same under every pattern
    means = patterns @ values / counts
    variances = np.maximum(squares - counts * means**2, 0.0) / (counts - 1)
    typical = np.median(np.sqrt(squares / counts))
    least = np.maximum(typical, resolution)
    result: Floats = means / ((np.sqrt(variances) + least) / np.sqrt(counts))
    return result
