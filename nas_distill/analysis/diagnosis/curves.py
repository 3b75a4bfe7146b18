"""Measure learning curves: what the second half of the epochs gained, and how many epochs a network needed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas_distill.records import EpochMetrics

SETTLED_POINTS = 2.0
"""A network has learned what it will once its accuracy stays within this many percentage points of its last."""

_MIDDLE = 0.1
"""Share of the epochs on either side of the middle whose median is the value there, because one epoch is noisy."""

Floats = NDArray[np.float64]


def late_gain(gaps: Floats) -> float | None:
    """Return by how much the gap fell in the second half of the epochs, in percentage points.

    The end of the curve shows nothing about a longer training: a learning rate that decays to 0 flattens every curve.
    The second half as a whole holds epochs with a high learning rate, whatever the schedule.

    Args:
        gaps: Gap after each epoch, percentage points [E]. NaN and infinities are ignored.

    Returns:
        Points, negative if the gap rose; None if fewer than 2 values are finite.
    """
    known = gaps[np.isfinite(gaps)]
    if len(known) < 2:
        return None
    middle = (len(known) - 1) / 2.0
    near = np.abs(np.arange(len(known)) - middle) <= max(_MIDDLE * len(known), 0.5)
    return float(np.median(known[near]) - known[-1])


def epochs_needed(curve: Sequence[EpochMetrics]) -> int | None:
    """Return the epoch from which a network's accuracy stays within `SETTLED_POINTS` of its last; None if unknown.

    Args:
        curve: Learning curve.
    """
    if not curve:
        return None
    last = curve[-1].top1
    unsettled = [point.epoch for point in curve if 100.0 * abs(point.top1 - last) > SETTLED_POINTS]
    return max(unsettled, default=0) + 1
