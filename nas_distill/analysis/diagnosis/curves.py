"""What a learning curve says of its end: the slope of its tail, and how much of its progress came late."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import theilslopes

CONFIDENCE = 0.95
TAIL_SHARE = 1.0 / 3.0
LEAST_TAIL = 4
"""Epochs of a tail: of fewer no interval says anything."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TailSlope:
    """The slope of a curve's end.

    Attributes:
        epochs: That it was fitted to.
        per_epoch: Theil-Sen slope (Sen 1968), in the curve's unit per epoch: the median slope between two epochs.
        low: Lower end of its 95 % interval.
        high: Upper end.
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
    """Returns the slope over the last third of a curve, at least `LEAST_TAIL` epochs.

    The interval takes epochs as exchangeable around the line. Those of a moving average of the weights are alike, so
    that it is rather too narrow; and a learning rate that goes to 0 flattens every curve: a slope of 0 there does not
    say that more epochs, planned from the start, would gain nothing. See `late_progress`.

    Args:
        values: One per epoch, in order [E]; NaN and infinities are left out.

    Returns:
        None where fewer than `LEAST_TAIL` epochs are known.
    """
    known = np.flatnonzero(np.isfinite(values))
    tail = known[-max(LEAST_TAIL, round(len(known) * TAIL_SHARE)) :]
    if len(tail) < LEAST_TAIL:
        return None
    found = theilslopes(values[tail], tail, alpha=CONFIDENCE)
    return TailSlope(epochs=len(tail), per_epoch=float(found[0]), low=float(found[2]), high=float(found[3]))


def late_progress(values: Floats) -> float | None:
    """Returns the share of a curve's whole fall that came in the last half of its epochs.

    A straight line has 0.5; a curve that has come to its end, about 0. Under schedules whose learning rate goes to 0
    every curve flattens, one that was cut short too; but one with too few epochs still made much of its progress late,
    since it has not come out of the steep part. The fall is from the highest value to the last; 0 where there is none.

    Args:
        values: One per epoch, in order [E]; NaN and infinities are left out.

    Returns:
        0 to 1; None where fewer than 2 epochs are known.
    """
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return None
    # The middle lies between two epochs when their number is even.
    middle = float(np.interp((len(known) - 1) / 2.0, np.arange(len(known)), known))
    fall = float(known.max() - known[-1])
    return float(np.clip((middle - known[-1]) / fall, 0.0, 1.0)) if fall > 0.0 else 0.0
