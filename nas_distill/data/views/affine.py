"""The map from the pixels of a view to positions in its image: rotation, zoom, shear and random resized crop.

All strengths are looked up in tables or are multiples of a power of two, and every operation on them is one rounded
float64 operation, so that maps are bit-identical on every device.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nas_distill.data.views.operations import Operation, draw_operations, magnitude
from nas_distill.data.views.plan import ViewPlan
from nas_distill.data.views.random_bits import INDEX_BITS, derive_bits, quantile_table, take_bits

_STREAM, _CROP_STREAM = 1, 6
_TABLE_BITS = 20
_PLACE_BITS = 20


class Maps(NamedTuple):
    """Affine maps of B views, float64 [B] each.

    An offset (x, y) from the centre of the view comes from the offset (x_from_x x + x_from_y y + right,
    y_from_x x + y_from_y y + down) from the centre of the image, in pixels.
    """

    x_from_x: Tensor
    x_from_y: Tensor
    y_from_x: Tensor
    y_from_y: Tensor
    right: Tensor
    down: Tensor


def draw_maps(bits: Tensor, plan: ViewPlan, size: tuple[int, int]) -> Maps:
    """Draw the map of each view, without the integer shifts and the flip of `geometry.draw_shifts`.

    Args:
        bits: Random bits of the views, int64 [B], from `view_bits`.
        plan: Augmentation settings.
        size: Height and width of the images, pixels.
    """
    maps = _warps(bits, plan)
    if plan.strength > 0:
        maps = _operations(maps, bits, plan, size)
    return _resized_crops(maps, bits, plan, size) if plan.is_resized_crop else maps


def _warps(bits: Tensor, plan: ViewPlan) -> Maps:
    """Return the maps of torchvision's `RandomAffine` with a shear along the rows, (R(angle) Shear Zoom)^-1."""
    cosine, sine, tangent, shrinking = _warp_tables(plan.rotate_degrees, plan.scale, plan.shear_degrees, bits.device)
    drawn = derive_bits(bits, _STREAM)
    angle, zoom, shear = (take_bits(drawn, INDEX_BITS * slot, INDEX_BITS) for slot in range(3))
    cos, sin, tan, shrink = cosine[angle], sine[angle], tangent[shear], shrinking[zoom]
    zero = torch.zeros_like(cos)
    return Maps((cos - sin * tan) * shrink, (cos * tan + sin) * shrink, -sin * shrink, cos * shrink, zero, zero)


def _operations(maps: Maps, bits: Tensor, plan: ViewPlan, size: tuple[int, int]) -> Maps:
    """Return the maps followed by the drawn geometric operations: rotation and shear about the centre, then shifts."""
    drawn = draw_operations(bits, plan)
    angle = np.deg2rad(magnitude(Operation.ROTATE, plan.strength))
    cosine, sine, slope = (
        _rounded(value) for value in (np.cos(angle), np.sin(angle), magnitude(Operation.SHEAR, plan.strength))
    )
    sin = drawn.signed(Operation.ROTATE, sine)
    cos = torch.where(drawn.chosen(Operation.ROTATE), cosine, 1.0)
    tan = drawn.signed(Operation.SHEAR, slope)
    own = (cos - sin * tan, cos * tan + sin, -sin, cos)
    share = magnitude(Operation.SHIFT_ACROSS, plan.strength)
    return Maps(
        maps.x_from_x * own[0] + maps.x_from_y * own[2],
        maps.x_from_x * own[1] + maps.x_from_y * own[3],
        maps.y_from_x * own[0] + maps.y_from_y * own[2],
        maps.y_from_x * own[1] + maps.y_from_y * own[3],
        maps.right + drawn.signed(Operation.SHIFT_ACROSS, round(share * size[1])),
        maps.down + drawn.signed(Operation.SHIFT_ALONG, round(share * size[0])),
    )


def _resized_crops(maps: Maps, bits: Tensor, plan: ViewPlan, size: tuple[int, int]) -> Maps:
    """Return the maps after a random resized crop (Szegedy et al. 2015, arXiv 1409.4842).

    Area and logarithm of the aspect ratio are uniform, as in torchvision's `RandomResizedCrop`; a side that would be
    longer than the image's is shortened to it. The outermost pixel centres of the view are those of the crop.
    """
    root, stretch, squeeze = _crop_tables(plan.min_crop_area, plan.crop_aspect, bits.device)
    drawn = derive_bits(bits, _CROP_STREAM)
    area, aspect = (take_bits(drawn, INDEX_BITS * slot, INDEX_BITS) for slot in range(2))
    across, along = (
        take_bits(drawn, 2 * INDEX_BITS + _PLACE_BITS * slot, _PLACE_BITS).to(torch.float64) * 0.5**_PLACE_BITS - 0.5
        for slot in range(2)
    )
    width, height = (root[area] * stretch[aspect]).clamp_max(1.0), (root[area] * squeeze[aspect]).clamp_max(1.0)
    return Maps(
        maps.x_from_x * width,
        maps.x_from_y * height,
        maps.y_from_x * width,
        maps.y_from_y * height,
        maps.right + across * ((1 - width) * (size[1] - 1)),
        maps.down + along * ((1 - height) * (size[0] - 1)),
    )


def _rounded(value: float) -> float:
    """Return a multiple of 2^-20: the last digit of a sine differs between the math libraries of two hosts."""
    return float(np.ldexp(np.rint(np.ldexp(value, _TABLE_BITS)), -_TABLE_BITS))


@lru_cache(maxsize=8)
def _warp_tables(
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


@lru_cache(maxsize=8)
def _crop_tables(min_area: float, aspect: float, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the roots of the area, of the aspect ratio and of its inverse, float64 [TABLE_SIZE] each."""
    log_root = np.log(aspect) / 2
    with torch.inference_mode(mode=False):
        return (
            quantile_table(lambda u: np.sqrt(min_area + u * (1 - min_area)), bits=_TABLE_BITS).to(device),
            quantile_table(lambda u: np.exp((2 * u - 1) * log_root), bits=_TABLE_BITS).to(device),
            quantile_table(lambda u: np.exp((1 - 2 * u) * log_root), bits=_TABLE_BITS).to(device),
        )
