"""Removal of downsampling steps, so that networks for large photos suit small images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, cast

from torch import nn

ALL_STEPS = (2, 2, 2, 2, 2)
"""Strides of timm's networks: five steps, each of which halves the resolution."""

_STRIDED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


def set_strides(network: nn.Module, parts: Iterable[nn.Module], strides: Sequence[int]) -> None:
    """Set the stride of each downsampling step of a network in place, and correct its `feature_info`.

    timm's `output_stride` keeps the resolution by dilation instead. On a map of 4x4 positions, most weights of a
    dilated kernel meet only padding.

    Args:
        network: timm network whose steps all have stride 2.
        parts: Its parts from the stem on. The parts that contain a stride are the steps.
        strides: Stride of each step, 1 or 2.

    Raises:
        ValueError: The number of strides is not that of the steps, or a stride is neither 1 nor 2.
    """
    steps = [part for part in parts if any(_is_strided(module) for module in part.modules())]
    if len(strides) != len(steps) or not set(strides) <= {1, 2}:
        raise ValueError(f"strides {tuple(strides)} must be {len(steps)} numbers, each 1 or 2")
    for step, stride in zip(steps, strides, strict=True):
        if stride == 1:
            _remove_stride(step)
    for info in cast("list[dict[str, Any]]", network.feature_info):
        info["reduction"] = math.prod(strides[: info["reduction"].bit_length() - 1])


def _is_strided(module: nn.Module) -> bool:
    return isinstance(module, _STRIDED) and module.stride in {2, (2, 2)}


def _remove_stride(step: nn.Module) -> None:
    for module in filter(_is_strided, step.modules()):
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
        elif isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
            # Pooling over one position is the identity.
            module.kernel_size, module.stride, module.padding = 1, 1, 0
