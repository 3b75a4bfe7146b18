"""Every interval and estimate of the analysis, computed in one place.

All intervals have a confidence level of 95 % unless a function takes another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, bootstrap, norm, t

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
BOOTSTRAP_RESAMPLES = 2000

ACCEPTED_ECE = 0.05
"""Expected calibration error that is small enough."""

_NORMAL_QUANTILE = 1.96
"""Standard errors to either side that hold 95 % of a normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with a symmetric 95 % interval.

    Attributes:
        mean: Estimated value, in the unit of the data.
        half_width: Half the width of the interval, in the same unit. None for a mean of one value, which has no spread.
    """

    mean: float
    half_width: float | None


def t_interval(values: Sequence[float]) -> Estimate | None:
    """Return the mean and its Student t interval, mean +- t(0.975; n - 1) s / sqrt(n).

    The formula treats the values as independent. Scores of K folds share training images, and no unbiased estimator of
    the variance of K-fold cross-validation exists (Bengio and Grandvalet 2004, JMLR 5), so their interval is rough and
    often too narrow.

    Args:
        values: One value per repetition, fold or student.

    Returns:
        None without values. One value has no half-width.
    """
    if not values:
        return None
    if len(values) == 1:
        return Estimate(mean=values[0], half_width=None)
    # Not scipy's `t.interval`: it returns the two ends, and their difference has lost digits of a small half-width.
    factor = float(t.ppf(0.5 + CONFIDENCE / 2.0, len(values) - 1))
    return Estimate(mean=fmean(values), half_width=factor * stdev(values) / sqrt(len(values)))


def standard_error(found: Estimate, repetitions: int) -> float:
    """Return the standard error that a t interval was computed from: half-width / t(0.975; R - 1).

    Args:
        found: A mean over R values, with a half-width.
        repetitions: R, at least 2.
    """
    assert found.half_width is not None
    return found.half_width / float(t.ppf(0.5 + CONFIDENCE / 2.0, repetitions - 1))


def with_minimum_width(found: Estimate | None, resolution: float, repetitions: int) -> Estimate | None:
    """Return the estimate with a half-width of at least 1 - 0.025^(1/R) steps of `resolution`.

    R trainings can agree by chance, and their t interval is then too narrow or empty. An accuracy moves by whole
    images. If a training is one image off with probability p, then R trainings show nothing of it with probability
    (1 - p)^R. The minimum is the largest p that this does not rule out: the upper end of the exact interval of 0
    successes in R trials (Clopper and Pearson 1934, Biometrika 26).

    Args:
        found: A mean over R repetitions.
        resolution: Smallest step between two values, in their unit.
        repetitions: R, at least 1.
    """
    if found is None or found.half_width is None:
        return found
    least = resolution * (1.0 - ((1.0 - CONFIDENCE) / 2.0) ** (1.0 / repetitions))
    return Estimate(mean=found.mean, half_width=max(found.half_width, least))


def accuracy_half_width_points(top1: Floats, images: int) -> Floats:
    """Return half the width of the interval of accuracies due to the sample of images, in percentage points.

    The interval is Agresti and Coull's (1998, The American Statistician 52): with p = (hits + 2) / (n + 4), half the
    width is 1.96 sqrt(p (1 - p) / (n + 4)). It is above 0 at an accuracy of 0 and of 1.

    Args:
        top1: Accuracies, 0 to 1, of any shape.
        images: Number of images that they were measured on.

    Returns:
        Array of the shape of `top1`.
    """
    # Own code: scipy's `proportion_ci` takes one proportion at a time, and a run has thousands.
    hits = (top1 * images + 2.0) / (images + 4.0)
    half: Floats = 100.0 * _NORMAL_QUANTILE * np.sqrt(hits * (1.0 - hits) / (images + 4.0))
    return half


def largest_calibrated_ece(noise: float, accepted: float = ACCEPTED_ECE) -> float:
    """Return the measured calibration error above which a student counts as miscalibrated: `accepted` + `noise`.

    By the triangle inequality, the measured error is at most the true one plus the error of a calibrated student on
    the same images. So a student whose true error is at most `accepted` exceeds the limit with a probability of about
    5 % at most.

    Args:
        noise: `StudentMetrics.ece_noise`, 0 to 1.
        accepted: Calibration error that is small enough, 0 to 1.
    """
    return accepted + noise


def gap_half_width_points(gap_points: Floats, agreement: Floats, images: int) -> Floats:
    """Return an upper bound of half the interval of gaps due to the sample of images, in percentage points.

    Teacher and student are scored on the same images, so their difference is paired. The two can differ in correctness
    at most on the images on which their answers differ, a share 1 - agreement. The interval is Agresti and Min's (2005,
    Statistics in Medicine 24): with d = (n (1 - agreement) + 1) / (n + 2) and g = n gap / (n + 2), half the width is
    1.96 sqrt((d - g^2) / (n + 2)). It is above 0 where all answers agree.

    Args:
        gap_points: Gaps, percentage points, of any shape.
        agreement: Share of images with the same answer, 0 to 1, of the same shape. Where it is NaN, the two are taken
            to differ on all images.
        images: n, at least 1.

    Returns:
        Array of the same shape.
    """
    apart = (images * (1.0 - np.nan_to_num(agreement)) + 1.0) / (images + 2.0)
    gap = images * gap_points / 100.0 / (images + 2.0)
    half: Floats = 100.0 * _NORMAL_QUANTILE * np.sqrt(np.maximum(apart - gap * gap, 0.0) / (images + 2.0))
    return half


def difference_half_width(first: float, second: float) -> float:
    """Return half the width of the interval of a difference of two independent values.

    The square root of the sum of squares, as variances of independent values add up.

    Args:
        first: Half-width of one value's interval.
        second: Half-width of the other's.
    """
    return float(np.hypot(first, second))


def proportion_difference(first: float, second: float, count: int) -> Estimate:
    """Return the difference of two independent proportions, with an interval that is never empty.

    Newcombe's hybrid score interval (1998, Statistics in Medicine 17, method 10): with the Wilson intervals (l1, u1)
    of p1 and (l2, u2) of p2, it reaches sqrt((p1 - l1)^2 + (u2 - p2)^2) below p1 - p2 and
    sqrt((u1 - p1)^2 + (p2 - l2)^2) above. The normal approximation sqrt(p1 (1 - p1) / n + p2 (1 - p2) / n) has a width
    of 0 where both proportions are 0 or 1.

    Args:
        first: p1, a proportion of `count` cases, 0 to 1.
        second: p2, a proportion of as many other cases.
        count: Number of cases behind each proportion, at least 1.

    Returns:
        p1 - p2, and the larger of the two distances, so that the symmetric interval holds Newcombe's.
    """
    low1, high1 = _wilson_interval(first, count)
    low2, high2 = _wilson_interval(second, count)
    below, above = hypot(first - low1, high2 - second), hypot(high1 - first, second - low2)
    return Estimate(mean=first - second, half_width=max(below, above))


def _wilson_interval(proportion: float, count: int) -> tuple[float, float]:
    found = binomtest(round(proportion * count), count).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def paired_difference_half_width(difference: float, disagreement: float, count: int) -> float:
    """Return an upper bound of half the interval of a difference of two proportions on the same cases.

    1.96 sqrt((d - difference^2) / n): the two can differ at most in the share d of the cases on which the two answers
    differ, and the variance of one case's difference is then at most d - difference^2 (McNemar 1947, Psychometrika 12).

    Args:
        difference: Difference of the two proportions, -1 to 1.
        disagreement: d, 0 to 1.
        count: n, at least 1.

    Returns:
        Share of the cases, at least 0.
    """
    return _NORMAL_QUANTILE * sqrt(max(0.0, disagreement - difference * difference) / count)


def median_interval(values: Sequence[float] | Floats, generator: np.random.Generator) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the median (Efron 1979, Annals of Statistics 7).

    Args:
        values: At least two values.
        generator: Source of the resamples.
    """
    found = bootstrap(
        (np.asarray(values, dtype=np.float64),), np.median, confidence_level=CONFIDENCE,
        n_resamples=BOOTSTRAP_RESAMPLES, method="percentile", random_state=generator,
    )  # fmt: skip
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def percentile_interval(draws: Floats, tail: float = (1.0 - CONFIDENCE) / 2.0) -> tuple[Floats, Floats]:
    """Return the ends of the percentile interval of a bootstrap (Efron 1979).

    Args:
        draws: Values of R resamples [R, ...].
        tail: Share of the resamples outside the interval at each end, 0 to 0.5.

    Returns:
        Lower and upper ends [...].
    """
    low, high = np.quantile(draws, [tail, 1.0 - tail], axis=0)
    return low, high


def expanded_tail(level: float, students: int, parameters: int) -> float:
    """Return the share of the resamples to leave out at each end of a percentile interval of few students.

    Percentile intervals of few students are too narrow. Expanded ones (Hesterberg 2015, The American Statistician 69)
    are as wide as Student's t asks for: the tail is Phi(-sqrt(n / (n - p)) t((1 + level) / 2; n - p)).

    Args:
        level: Confidence level, 0 to 1.
        students: n.
        parameters: p, number of fitted parameters.
    """
    freedom = max(1, students - parameters)
    return float(norm.cdf(-np.sqrt(students / freedom) * t.ppf(0.5 + level / 2.0, freedom)))
