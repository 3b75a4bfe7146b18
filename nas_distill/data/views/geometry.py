"""Geometric augmentations: random crop, horizontal flip, rotation, zoom and shear.

Shapes: B views, C channels, H rows, W columns. Results are bit-identical on every device and in every batch: crop and
flip only move bytes, and the floating-point arithmetic of `warp` is exact.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nas_distill.data.views.plan import ViewPlan
from nas_distill.data.views.random_bits import INDEX_BITS, derive_bits, quantile_table, take_bits

_SHIFT_BITS = 24
_STREAM = 1
_TABLE_BITS = 20
_SUBPIXELS = 256.0


class Shifts(NamedTuple):
    """Crop offset and horizontal flip of each view.

    Attributes:
        down: Row offset, int64 [B], pixels: row i of the view is row i + down of the image.
        right: Column offset, int64 [B], pixels: column j of the view is column j + right of the image.
        mirrored: Whether the view is flipped horizontally, bool [B].
    """

    down: Tensor
    right: Tensor
    mirrored: Tensor


def draw_shifts(bits: Tensor, plan: ViewPlan) -> Shifts:
    """Draw offsets from -crop_padding to crop_padding, and a flip with probability 1/2 if `plan.flip` is on.

    Args:
        bits: Random bits of the views, int64 [B], from `view_bits`.
        plan: Augmentation settings.
    """
    choices = 2 * plan.crop_padding + 1
    down = (take_bits(bits, 0, _SHIFT_BITS) * choices >> _SHIFT_BITS) - plan.crop_padding
    right = (take_bits(bits, _SHIFT_BITS, _SHIFT_BITS) * choices >> _SHIFT_BITS) - plan.crop_padding
    return Shifts(down, right, bits < 0 if plan.flip else torch.zeros_like(bits, dtype=torch.bool))


def crop(store: Tensor, rows: Tensor, shifts: Shifts) -> Tensor:
    """Return shifted, zero-padded and possibly flipped images, uint8 [B, C, H, W].

    Args:
        store: Images to choose from, uint8 [N, C, H, W].
        rows: Index in `store` of each view's image, int64 [B], on the same device.
        shifts: Offsets (smaller than H and W) and flips of the views.
    """
    return _crop_by_slices(store, rows, shifts) if store.device.type == "cpu" else _crop_by_gather(store, rows, shifts)


def _crop_by_slices(store: Tensor, rows: Tensor, shifts: Shifts) -> Tensor:
    """Crop on a CPU: copying slices straight from the memory map is faster than gathering single pixels."""
    _, channels, height, width = store.shape
    views = torch.zeros((len(rows), channels, height, width), dtype=torch.uint8)
    source, target = store.numpy(), views.numpy()
    drawn = (values.tolist() for values in shifts)
    for view, (row, down, right, mirrored) in enumerate(zip(rows.tolist(), *drawn, strict=True)):
        top, bottom = max(0, -down), min(height, height - down)
        left, end = max(0, -right), min(width, width - right)
        seen = source[row, :, top + down : bottom + down, left + right : end + right]
        if mirrored:
            target[view, :, top:bottom, width - end : width - left] = seen[:, :, ::-1]
        else:
            target[view, :, top:bottom, left:end] = seen
    return views


def _crop_by_gather(store: Tensor, rows: Tensor, shifts: Shifts) -> Tensor:
    """Crop on an accelerator: a few kernels for the whole batch, without synchronising with the host."""
    images = store.index_select(0, rows)
    count, channels, height, width = images.shape
    from_row = torch.arange(height, device=images.device) + shifts.down[:, None]
    from_column = torch.arange(width, device=images.device).expand(count, width)
    from_column = torch.where(shifts.mirrored[:, None], width - 1 - from_column, from_column) + shifts.right[:, None]
    row_inside, column_inside = (from_row >= 0) & (from_row < height), (from_column >= 0) & (from_column < width)
    pixels = from_row.clamp(0, height - 1)[:, :, None] * width + from_column.clamp(0, width - 1)[:, None, :]
    pixels = pixels.reshape(count, 1, height * width).expand(count, channels, height * width)
    seen = images.reshape(count, channels, -1).gather(2, pixels).reshape(images.shape)
    return seen.mul_((row_inside[:, :, None] & column_inside[:, None, :])[:, None])


def warp(images: Tensor, bits: Tensor, shifts: Shifts, plan: ViewPlan) -> Tensor:
    """Rotate, zoom and shear images about their centre, shift and flip them, all in one resampling.

    Interpolation is bilinear; pixels outside the image are black. The map from view to image is that of torchvision's
    `RandomAffine` with a shear along the rows, (R(angle) Shear Zoom)^-1, followed by the shifts.

    The result is exact. Positions are rounded to 1/256 pixel and the sampled square has a power of two as its side,
    so every number in `grid_sample` fits the 24 bits of float32 (positions: 14 + 8; weights: 16; weighted pixels:
    8 + 16). The order of additions, fused operations and the vector width therefore cannot change a bit.

    Args:
        images: Images, uint8 [B, C, H, W], H and W at most 1024.
        bits: Random bits of the views, int64 [B], from `view_bits`.
        shifts: Offsets and flips of the views.
        plan: Augmentation settings.

    Returns:
        Integer-valued pixels, float32 [B, C, H, W], 0 to 255.
    """
    _, _, height, width = images.shape
    side = 1 << (max(height, width) - 1).bit_length()
    grid = _sampling_grid(_inverse_maps(bits, plan), shifts, (height, width), side)
    source = functional.pad(images, (0, side - width, 0, side - height)).to(torch.float32)
    return functional.grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=False).round_()


def _inverse_maps(bits: Tensor, plan: ViewPlan) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the 2x2 matrices that map offsets in the view to offsets in the image, row by row, float64 [B] each."""
    cosine, sine, tangent, shrinking = _tables(plan.rotate_degrees, plan.scale, plan.shear_degrees, bits.device)
    drawn = derive_bits(bits, _STREAM)
    angle, zoom, shear = (take_bits(drawn, INDEX_BITS * slot, INDEX_BITS) for slot in range(3))
    cos, sin, tan, shrink = cosine[angle], sine[angle], tangent[shear], shrinking[zoom]
    return (cos - sin * tan) * shrink, (cos * tan + sin) * shrink, -sin * shrink, cos * shrink


def _sampling_grid(
    maps: tuple[Tensor, Tensor, Tensor, Tensor], shifts: Shifts, size: tuple[int, int], side: int
) -> Tensor:
    """Return the normalised positions for `grid_sample` of an image of `side` pixels, float32 [B, H, W, 2]."""
    height, width = size
    device = shifts.down.device
    from_x, from_y, to_x, to_y = (value[:, None] for value in (maps[0], maps[2], maps[1], maps[3]))
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    across = torch.arange(width, dtype=torch.float64, device=device) - centre_x
    across = torch.where(shifts.mirrored[:, None], -across, across)
    along = torch.arange(height, dtype=torch.float64, device=device) - centre_y
    by_column = torch.complex(_snap(from_x * across), _snap(from_y * across))
    by_row = torch.complex(
        _snap(to_x * along) + (centre_x + shifts.right)[:, None],
        _snap(to_y * along) + (centre_y + shifts.down)[:, None],
    )
    # Pixel x is at (2 x + 1) / side - 1. Complex numbers hold both coordinates, so one addition computes both.
    by_column, by_row = by_column * (2 / side), by_row * (2 / side) + complex(1 / side - 1, 1 / side - 1)
    return torch.view_as_real(by_column.to(torch.complex64)[:, None, :] + by_row.to(torch.complex64)[:, :, None])


def _snap(positions: Tensor) -> Tensor:
    return torch.round(positions * _SUBPIXELS) / _SUBPIXELS


@lru_cache(maxsize=8)
def _tables(
    rotate_degrees: float, scale: float, shear_degrees: float, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return cosine and sine of the angle, tangent of the shear and 1 / zoom, float64 [TABLE_SIZE] each."""
    angle, shear = np.deg2rad(rotate_degrees), np.deg2rad(shear_degrees)
    # Autograd cannot use tensors that were created in inference mode.
    with torch.inference_mode(mode=False):
        return (
            quantile_table(lambda u: np.cos((2 * u - 1) * angle), bits=_TABLE_BITS).to(device),
            quantile_table(lambda u: np.sin((2 * u - 1) * angle), bits=_TABLE_BITS).to(device),
            quantile_table(lambda u: np.tan((2 * u - 1) * shear), bits=_TABLE_BITS).to(device),
            quantile_table(lambda u: 1 / (1 + (2 * u - 1) * scale), bits=_TABLE_BITS).to(device),
        )
