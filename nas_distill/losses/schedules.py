"""Courses: how a number goes from one value to another over the epochs, and who gains what the teacher loses."""

from __future__ import annotations

import math

from nas_distill.records.recipe import AdaptiveSchedule


def scheduled_value(kind: AdaptiveSchedule, start: float, end: float, epoch: int, epochs: int) -> float:
    """Returns the value in `epoch`: exactly `start` in the first and exactly `end` in the last.

    "linear": start + u (end - start), u = epoch / (epochs - 1); "cosine": the same with (1 - cos(pi u)) / 2 for u;
    "constant": `start`. With a single epoch it is `start`.

    Args:
        kind: Which way.
        start: In epoch 0.
        end: In epoch `epochs` - 1, and later.
        epoch: From 0.
        epochs: At least 1.

    Returns:
        A value between `start` and `end`, never going back.
    """
    if kind == "constant" or epochs == 1:
        return start
    if epoch >= epochs - 1:
        return end
    share = epoch / (epochs - 1)
    if kind == "cosine":
        share = (1 - math.cos(math.pi * share)) / 2
    # Rounding can step over the end.
    return min(max(start + share * (end - start), min(start, end)), max(start, end))


def label_weight(own: float, factor: float) -> float:
    """Returns the weight of the labels: what the teacher's terms lose they gain, up to 1.

    own + (1 - factor) (max(own, 1) - own): the recipe's own at `factor` 1, at least 1 at `factor` 0.

    Args:
        own: The recipe's label weight, at least 0.
        factor: What is left of the teacher's terms, 0 to 1.
    """
    return own + (1 - factor) * (max(own, 1.0) - own)
