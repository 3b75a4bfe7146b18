"""Measure the end of a learning curve: the slope of its tail, and the share of its progress that came late."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas_distill.analysis.stats import slope_interval

TAIL_SHARE = 1.0 / 3.0
MIN_TAIL = 4
"""Fewest epochs of a tail. With fewer the interval of the slope carries no information."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TailSlope:
    """The slope of the last part of a curve.

    Attributes:
        epochs: Number of epochs that the slope was fitted to.
        per_epoch: Theil-Sen slope, in the curve's unit per epoch.
        low: Lower end of its 95 % interval.
        high: Upper end of its 95 % interval.
    """

    epochs: int
    per_epoch: float
    low: float
    high: float

    @property
    def falls(self) -> bool:
        """Whether the whole interval lies below 0."""
        return self.high < 0.0


def tail_slope(values: Floats) -> TailSlope | None:
    """Return the slope over the last third of a curve, or over its last `MIN_TAIL` epochs if those are more.

    The interval assumes that the deviations from the line are exchangeable. With a moving average of the weights,
    neighbouring epochs are alike and the interval is too narrow. A learning rate that decays to 0 flattens every curve,
    so a slope of 0 does not show that a longer schedule would gain nothing; see `late_progress`.

    Args:
        values: One value per epoch, in order [E]. NaN and infinities are ignored.

    Returns:
        None if fewer than `MIN_TAIL` values are finite.
    """
    known = np.flatnonzero(np.isfinite(values))
    tail = known[-max(MIN_TAIL, round(len(known) * TAIL_SHARE)) :]
    if len(tail) < MIN_TAIL:
        return None
    slope = slope_interval(values[tail], tail)
    return TailSlope(epochs=len(tail), per_epoch=slope.value, low=slope.low, high=slope.high)


def late_progress(values: Floats) -> float | None:
    """Return the share of a curve's whole fall that came in the second half of its epochs.

    A straight line has 0.5; a curve that has converged has about 0. A learning rate that decays to 0 flattens every
    curve at its end, also one that needed more epochs. Such a curve still made much of its progress late, because it
    never left its steep part. The fall is measured from the highest value to the last.

    Args:
        values: One value per epoch, in order [E]. NaN and infinities are ignored.

    Returns:
        Share, 0 to 1; 0 for a curve that does not fall; None if fewer than 2 values are finite.
    """
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return None
    # The middle lies between two epochs when their number is even.
    middle = float(np.interp((len(known) - 1) / 2.0, np.arange(len(known)), known))
    fall = float(known.max() - known[-1])
    return float(np.clip((middle - known[-1]) / fall, 0.0, 1.0)) if fall > 0.0 else 0.0
