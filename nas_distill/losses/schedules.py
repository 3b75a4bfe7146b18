"""Schedules over epochs, and the weight of the labels while the teacher's weight falls."""

from __future__ import annotations

import math

from nas_distill.records.recipe import AdaptiveSchedule


def scheduled_value(kind: AdaptiveSchedule, start: float, end: float, epoch: int, epochs: int) -> float:
    """Return the value of a schedule in one epoch: exactly `start` in the first epoch, exactly `end` in the last.

    "linear": start + u (end - start) with u = epoch / (epochs - 1); "cosine": the same with (1 - cos(pi u)) / 2 in
    place of u; "constant": `start`. With a single epoch the value is `start`.

    Args:
        kind: Shape of the schedule.
        start: Value in epoch 0.
        end: Value in epoch `epochs` - 1 and later.
        epoch: Epoch, counted from 0.
        epochs: Number of epochs, at least 1.

    Returns:
        A value between `start` and `end`, monotone in `epoch`.
    """
    if kind == "constant" or epochs == 1:
        return start
    if epoch >= epochs - 1:
        return end
    share = epoch / (epochs - 1)
    if kind == "cosine":
        share = (1 - math.cos(math.pi * share)) / 2
    # Rounding can exceed the end.
    return min(max(start + share * (end - start), min(start, end)), max(start, end))


def label_weight(own: float, factor: float) -> float:
    """Return the weight of the labels, which rises to at least 1 as the teacher's weight falls to 0.

    own + (1 - factor) (max(own, 1) - own): `own` at factor 1, max(own, 1) at factor 0.

    Args:
        own: The recipe's label weight, at least 0.
        factor: Factor of the teacher's weights, 0 to 1.
    """
    return own + (1 - factor) * (max(own, 1.0) - own)
