"""A paired test of many quantities at once over few repetitions, which permutes the signs of whole repetitions.

Own code: `scipy.stats.permutation_test` tests one statistic at a time and has no step-down correction for many.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MAX_EXACT = 12
"""Most repetitions for which all 2^R patterns of signs are used; for more, `PATTERNS` patterns are drawn."""

PATTERNS = 2**MAX_EXACT
_TIE = 1e-9


def least_repetitions(level: float) -> int:
    """Return the fewest repetitions R that can reach a level in (0, 1): 2^-R is at most `level`; 5 at 0.05."""
    return math.ceil(-math.log2(level) - _TIE)


def sign_patterns(repetitions: int, *, seed: int = 0) -> Floats:
    """Return patterns of +1 and -1 [P, R], the first all +1: each of the 2^R once, or `PATTERNS` drawn at random."""
    if repetitions > MAX_EXACT:
        drawn: Floats = np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), size=(PATTERNS, repetitions))
        drawn[0] = 1.0
        return drawn
    bits = np.arange(2**repetitions)[:, None] >> np.arange(repetitions)
    return 1.0 - 2.0 * (bits & 1).astype(np.float64)


def step_down_p_values(differences: Floats, resolution: Floats, *, seed: int = 0) -> Floats:
    """Return one-sided p values for means above 0, corrected for the number of quantities.

    If the two arms of a repetition are exchangeable, its differences are equally likely with all signs reversed. The
    observed data are then one of 2^R equally likely data sets. The p value is the share of these sets whose largest
    statistic is at least the observed one; it is at most alpha with probability at most alpha. Quantities are tested
    from the largest statistic down, each against the maximum of those not yet tested (step-down max-T: Westfall and
    Young 1993, algorithm 4.1; Romano and Wolf 2005, JASA 100). The probability of any false finding stays below the
    level for any dependence between the quantities, any number of them, and any granularity of their values.

    The choice of the statistic affects only the power. It is mean / (standard error + s0) as in SAM (Tusher et al.
    2001, PNAS 98), where s0 keeps quantities whose repetitions agree by chance from being the largest. Here s0 is the
    median over quantities of the root mean square difference, or the quantity's resolution if that is larger, divided
    by the square root of the number of repetitions.

    Args:
        differences: Differences of R repetitions and C quantities [R, C]; NaN where there is none.
        resolution: Smallest step between two values of each quantity [C], above 0.
        seed: Seed of drawn patterns (see `MAX_EXACT`).

    Returns:
        p values [C], each at least 2^-R; NaN for a quantity with fewer than two repetitions.
    """
    present = ~np.isnan(differences)
    counts = present.sum(axis=0)
    tested = counts >= 2
    p_values = np.full(differences.shape[1], np.nan)
    if not tested.any():
        return p_values
    values = np.where(present, differences, 0.0)[:, tested]
    found = _statistics(values, counts[tested], resolution[tested], sign_patterns(len(values), seed=seed))
    order = np.argsort(
        found[0], kind="stable"
    )  # ascending, so that the maximum of those not yet tested is a running maximum
    largest = np.maximum.accumulate(found[:, order], axis=1)
    reached = (largest >= found[0, order] - _TIE).mean(axis=0)
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate(reached[::-1])[::-1]
    p_values[tested] = adjusted
    return p_values


def _statistics(values: Floats, counts: NDArray[np.int64], resolution: Floats, patterns: Floats) -> Floats:
    """Return mean / (standard error + s0) under each pattern [P, C]."""
    squares = (values**2).sum(axis=0)  # the same under every pattern
    means = patterns @ values / counts
    variances = np.maximum(squares - counts * means**2, 0.0) / (counts - 1)
    typical = np.median(np.sqrt(squares / counts))
    least = np.maximum(typical, resolution)
    result: Floats = means / ((np.sqrt(variances) + least) / np.sqrt(counts))
    return result
