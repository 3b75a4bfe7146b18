"""Strides and widths of convolutional networks for an image size. This module is no space: several spaces use it."""

from __future__ import annotations

from nas_distill.records import SpaceTrial

SMALL_IMAGE = 48
"""Largest image size whose first stage keeps the resolution, pixels."""

LARGE_IMAGE = 128
"""Smallest image size from which the last stage has 1/32 of the resolution, as in networks for photos, pixels."""


def suggest_strides(trial: SpaceTrial, prefix: str, image_size: int) -> tuple[int, ...]:
    """Suggest the strides of the five steps at which networks for photos halve the resolution, from the stem on.

    The last feature map has at least 4x4 positions for images of 25 pixels or more, and at most 12x12. For images of
    49 to 127 pixels, one step is left out: "early", the first, keeps details and costs about four times the
    multiply-accumulates of "late", the last.

    Args:
        trial: Trial that suggests the parameters.
        prefix: Family, the prefix of the parameter's name.
        image_size: Height and width of the images, pixels.
    """
    if image_size <= SMALL_IMAGE:
        return (1, 1, 2, 2, 2)
    if image_size >= LARGE_IMAGE:
        return (2, 2, 2, 2, 2)
    resolution = trial.suggest_categorical(f"{prefix}_resolution", ["early", "late"])
    return (1, 2, 2, 2, 2) if resolution == "early" else (2, 2, 2, 2, 1)


def round_width(width: float, divisor: int = 8) -> int:
    """Return the multiple of `divisor` nearest to a number of channels, at least `divisor`."""
    return max(divisor, round(width / divisor) * divisor)


def stage_widths(width: float, growth: float, stages: int = 4) -> tuple[int, ...]:
    """Return the channels of each stage, multiples of 8.

    Args:
        width: Channels of the first stage.
        growth: Factor from one stage to the next.
        stages: Number of stages.
    """
    return tuple(round_width(width * growth**stage) for stage in range(stages))
