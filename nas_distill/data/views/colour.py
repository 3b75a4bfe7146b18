"""Change brightness, contrast and saturation like Pillow's `ImageEnhance` and torchvision's `ColorJitter`, and the hue.

Factors are multiples of 1/4096 and pixels are integers, so every product and sum below is exact in float32 (24 bits).
The result is therefore the same on every device and in every batch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from nas_distill.data.views.operations import (
    Operation,
    apply_to,
    autocontrast,
    draw_operations,
    magnitude,
    posterise,
    solarise,
)
from nas_distill.data.views.plan import ViewPlan
from nas_distill.data.views.random_bits import INDEX_BITS, derive_bits, quantile_table, take_bits

_STREAM = 2
_FACTOR_BITS = 12
# Rec. 601 luma weights in units of 1/65536, as in Pillow's conversion to grey.
_RED, _GREEN, _BLUE, _UNIT = 19595.0, 38470.0, 7471.0, 65536.0


def recolour(pixels: Tensor, bits: Tensor, plan: ViewPlan) -> Tensor:
    """Change brightness, contrast, saturation and hue, in this order, then apply the drawn operations on colours.

    Each step rounds and clips to 0..255.

    Args:
        pixels: Integer-valued pixels, float32 [B, C, H, W], 0 to 255; changed in place.
        bits: Random bits of the views, int64 [B], from `view_bits`.
        plan: Augmentation settings.

    Returns:
        Integer-valued pixels, float32 [B, C, H, W], 0 to 255.
    """
    drawn = derive_bits(bits, _STREAM)
    is_rgb = pixels.shape[1] == 3
    if plan.brightness > 0:
        _brighten(pixels, _factors(drawn, 0, plan.brightness))
    if plan.contrast > 0:
        _contrast(pixels, _factors(drawn, 1, plan.contrast))
    if plan.saturation > 0 and is_rgb:
        _saturate(pixels, _factors(drawn, 2, plan.saturation))
    if plan.hue > 0 and is_rgb:
        pixels = _turn_hue(pixels, drawn, plan.hue)
    return _operate(pixels, bits, plan) if plan.strength > 0 else pixels


def _operate(pixels: Tensor, bits: Tensor, plan: ViewPlan) -> Tensor:
    """Apply the drawn operations on colours."""
    drawn, strength = draw_operations(bits, plan), plan.strength
    enhancements = {Operation.BRIGHTNESS: _brighten, Operation.CONTRAST: _contrast}
    enhancements |= {Operation.SATURATION: _saturate} if pixels.shape[1] == 3 else {}
    for operation, enhance in enhancements.items():
        change = round(magnitude(operation, strength) * (1 << _FACTOR_BITS)) / (1 << _FACTOR_BITS)
        factors = (1 + drawn.signed(operation, change)).to(torch.float32)[:, None, None, None]
        pixels = apply_to(pixels, drawn.chosen(operation), _with_factors(enhance, factors))
    pixels = apply_to(pixels, drawn.chosen(Operation.POSTERISE), lambda some, _: posterise(some, strength))
    pixels = apply_to(pixels, drawn.chosen(Operation.SOLARISE), lambda some, _: solarise(some, strength))
    return apply_to(pixels, drawn.chosen(Operation.AUTOCONTRAST), lambda some, _: autocontrast(some))


def _with_factors(enhance: Callable[[Tensor, Tensor], Tensor], factors: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda pixels, rows: enhance(pixels, factors[rows])


def _brighten(pixels: Tensor, factors: Tensor) -> Tensor:
    return _round_and_clip_(pixels.mul_(factors))


def _contrast(pixels: Tensor, factors: Tensor) -> Tensor:
    shift = (1 - factors) * _mean_grey(pixels)
    return _round_and_clip_(pixels.mul_(factors).add_(shift))


def _saturate(pixels: Tensor, factors: Tensor) -> Tensor:
    shift = (1 - factors) * _grey(pixels)
    return _round_and_clip_(pixels.mul_(factors).add_(shift))


def _turn_hue(pixels: Tensor, drawn: Tensor, hue: float) -> Tensor:
    """Rotate colours about the grey axis of the RGB cube; unlike a change of hue in HSV, this is linear and exact."""
    own_table, next_table = _hue_tables(hue, drawn.device)
    level = take_bits(drawn, INDEX_BITS * 3, INDEX_BITS)
    own, following = own_table[level][:, None, None], next_table[level][:, None, None]
    last = 1 - own - following  # grey stays grey
    red, green, blue = pixels.unbind(1)
    turned = (
        own * red + following * green + last * blue,
        last * red + own * green + following * blue,
        following * red + last * green + own * blue,
    )
    return _round_and_clip_(torch.stack(turned, dim=1))


def _factors(drawn: Tensor, slot: int, strength: float) -> Tensor:
    """Return factors from 1 - strength to 1 + strength, float32 [B, 1, 1, 1]."""
    table = _table(strength, drawn.device)
    return table[take_bits(drawn, INDEX_BITS * slot, INDEX_BITS)][:, None, None, None]


def _grey(pixels: Tensor) -> Tensor:
    """Return integer-valued grey pixels, float32 [B, 1, H, W]."""
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = pixels[:, 0:1], pixels[:, 1:2], pixels[:, 2:3]
    grey = red * _RED
    grey.add_(green, alpha=_GREEN).add_(blue, alpha=_BLUE).add_(_UNIT / 2)
    return grey.mul_(1 / _UNIT).floor_()


def _mean_grey(pixels: Tensor) -> Tensor:
    """Return the rounded mean grey of each image, float32 [B, 1, 1, 1]."""
    grey = _grey(pixels)
    count = grey[0].numel()
    # A float64 sum of integers is exact, so its order does not matter. The division is done in integers: a device may
    # multiply by 1 / count instead, which can round a mean of exactly .5 either way.
    total = grey.sum(dim=(1, 2, 3), dtype=torch.float64, keepdim=True).to(torch.int64)
    return ((2 * total + count) // (2 * count)).to(torch.float32)


def _round_and_clip_(pixels: Tensor) -> Tensor:
    return pixels.round_().clamp_(0.0, 255.0)


@lru_cache(maxsize=16)
def _table(strength: float, device: torch.device) -> Tensor:
    # Autograd cannot use tensors that were created in inference mode.
    with torch.inference_mode(mode=False):
        return quantile_table(lambda u: 1 + (2 * u - 1) * strength, bits=_FACTOR_BITS).to(device, torch.float32)


@lru_cache(maxsize=16)
def _hue_tables(hue: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the weights of a channel itself and of the next channel in a rotated colour, float32 [TABLE_SIZE] each."""
    turn = 2 * np.pi * hue
    with torch.inference_mode(mode=False):
        own = quantile_table(lambda u: (1 + 2 * np.cos((2 * u - 1) * turn)) / 3, bits=_FACTOR_BITS)
        third = 2 * np.pi / 3
        following = quantile_table(lambda u: (1 + 2 * np.cos((2 * u - 1) * turn + third)) / 3, bits=_FACTOR_BITS)
        return own.to(device, torch.float32), following.to(device, torch.float32)
