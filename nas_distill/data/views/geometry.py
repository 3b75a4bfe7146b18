"""Geometric augmentations: random crop, horizontal flip, and everything that needs interpolation.

Shapes: B views, C channels, H rows, W columns. Results are bit-identical on every device and in every batch: crop and
flip only move bytes, and the floating-point arithmetic of `warp` is exact.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from nas_distill.data.views.affine import Maps, draw_maps
from nas_distill.data.views.plan import ViewPlan
from nas_distill.data.views.random_bits import take_bits
from nas_distill.data.views.separable import resample

_SHIFT_BITS = 24
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
    """Apply the affine maps of `affine.draw_maps` to images, shift and flip them, all in one resampling.

    Interpolation is bilinear; pixels outside the image are black.

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
    maps = draw_maps(bits, plan, (height, width))
    terms = _position_terms(maps, shifts, (height, width))
    return _by_axis(images, terms) if plan.is_axis_aligned else _by_position(images, terms)


class _PositionTerms(NamedTuple):
    """Positions in the image, pixels: that of row i and column j of a view is the sum of its two terms.

    Attributes:
        x_by_column: Part of x that depends on the column, float64 [B, W], multiples of 1/256.
        y_by_column: Part of y that depends on the column, likewise; 0 without rotation.
        x_by_row: Part of x that depends on the row, float64 [B, H], likewise; constant without rotation and shear.
        y_by_row: Part of y that depends on the row, likewise.
    """

    x_by_column: Tensor
    y_by_column: Tensor
    x_by_row: Tensor
    y_by_row: Tensor


def _position_terms(maps: Maps, shifts: Shifts, size: tuple[int, int]) -> _PositionTerms:
    height, width = size
    device = shifts.down.device
    x_from_x, x_from_y, y_from_x, y_from_y, right, down = (value[:, None] for value in maps)
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    across = torch.arange(width, dtype=torch.float64, device=device) - centre_x
    across = torch.where(shifts.mirrored[:, None], -across, across)
    along = torch.arange(height, dtype=torch.float64, device=device) - centre_y
    return _PositionTerms(
        _snap(x_from_x * across),
        _snap(y_from_x * across),
        _snap(x_from_y * along) + _snap(right) + (centre_x + shifts.right)[:, None],
        _snap(y_from_y * along) + _snap(down) + (centre_y + shifts.down)[:, None],
    )


def _by_axis(images: Tensor, terms: _PositionTerms) -> Tensor:
    """Interpolate along one axis after the other; the terms must be free of rotation and shear."""
    return resample(images, terms.x_by_column + terms.x_by_row[:, :1], terms.y_by_row + terms.y_by_column[:, :1])


def _by_position(images: Tensor, terms: _PositionTerms) -> Tensor:
    """Interpolate at every position of the views."""
    _, _, height, width = images.shape
    side = 1 << (max(height, width) - 1).bit_length()
    source = functional.pad(images, (0, side - width, 0, side - height)).to(torch.float32)
    grid = _sampling_grid(terms, side)
    return functional.grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=False).round_()


def _sampling_grid(terms: _PositionTerms, side: int) -> Tensor:
    """Return the normalised positions for `grid_sample` of an image of `side` pixels, float32 [B, H, W, 2]."""
    by_column = torch.complex(terms.x_by_column, terms.y_by_column)
    by_row = torch.complex(terms.x_by_row, terms.y_by_row)
    # Pixel x is at (2 x + 1) / side - 1. Complex numbers hold both coordinates, so one addition computes both.
    by_column, by_row = by_column * (2 / side), by_row * (2 / side) + complex(1 / side - 1, 1 / side - 1)
    return torch.view_as_real(by_column.to(torch.complex64)[:, None, :] + by_row.to(torch.complex64)[:, :, None])


def _snap(positions: Tensor) -> Tensor:
    return torch.round(positions * _SUBPIXELS) / _SUBPIXELS
