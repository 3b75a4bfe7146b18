"""Scaling of timm's tables of blocks, from which MobileNets and EfficientNets are built."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from timm.models._efficientnet_builder import decode_arch_def, round_channels

BlockTable = Sequence[Sequence[str]]
"""Blocks of each stage, in the notation of timm's `decode_arch_def`."""


def scaled_width(channels: int, width: float) -> int:
    """Return a number of channels times `width`, rounded to a multiple of 8, at least 8."""
    scaled: int = round_channels(channels, width)
    return scaled


def scaled_blocks(table: BlockTable, width: float, depth: float) -> dict[str, Any]:
    """Return the constructor arguments that build a table of blocks with other numbers of channels and blocks.

    Args:
        table: Blocks of each stage.
        width: Factor on the channels.
        depth: Factor on the number of blocks of each stage, which is rounded. One block of each kind stays.
    """
    return {
        "block_args": decode_arch_def([list(stage) for stage in table], depth, depth_trunc="round"),
        "round_chs_fn": partial(round_channels, multiplier=width),
    }
