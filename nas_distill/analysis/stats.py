"""Intervals and estimates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from scipy.stats import t

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over folds.

    Attributes:
        mean: In the unit of the values.
        half_width: Of the 95 % t interval around it; None for one value, which has no spread.
    """

    mean: float
    half_width: float | None


def estimate(values: Sequence[float]) -> Estimate | None:
    """Returns mean and 95 % t interval, mean +- t(0.975; n - 1) s / sqrt(n); None of no values.

    The interval treats the folds as independent. They share training images, and no unbiased estimator of the variance
    of K-fold cross-validation exists (Bengio and Grandvalet 2004, JMLR 5): it is a rough one, rather too narrow.
    """
    if not values:
        return None
    if len(values) == 1:
        return Estimate(mean=values[0], half_width=None)
    factor = float(t.ppf(0.5 + CONFIDENCE / 2.0, len(values) - 1))
    return Estimate(mean=fmean(values), half_width=factor * stdev(values) / sqrt(len(values)))
