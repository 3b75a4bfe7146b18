"""Brightness, contrast and saturation, in this order, as Pillow's `ImageEnhance` and torchvision's `ColorJitter`.

Factors are multiples of 1/4096 and pixels whole numbers, so that every product and sum below fits float32's 24 bits:
the result is the same on every device and in every batch.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from nas_distill.data.views.plan import ViewPlan
from nas_distill.data.views.random_bits import INDEX_BITS, derive_bits, quantile_table, take_bits

_STREAM = 2
_FACTOR_BITS = 12
# Rec. 601 luma in 1/65536, as Pillow converts to grey.
_RED, _GREEN, _BLUE, _UNIT = 19595.0, 38470.0, 7471.0, 65536.0


def recolour(pixels: Tensor, bits: Tensor, plan: ViewPlan) -> Tensor:
    """Returns the images with brightness, contrast and saturation changed; each step rounds and clips to 0 to 255.

    Args:
        pixels: float32 [B, C, H, W], whole numbers from 0 to 255; changed in place.
        bits: int64 [B], of `view_bits`.
        plan: How views are made.

    Returns:
        `pixels`, whole numbers from 0 to 255.
    """
    drawn = derive_bits(bits, _STREAM)
    if plan.brightness > 0:
        _settle(pixels.mul_(_factors(drawn, 0, plan.brightness)))
    if plan.contrast > 0:
        factors = _factors(drawn, 1, plan.contrast)
        shift = (1 - factors) * _mean_grey(pixels)
        _settle(pixels.mul_(factors).add_(shift))
    if plan.saturation > 0 and pixels.shape[1] == 3:
        factors = _factors(drawn, 2, plan.saturation)
        shift = (1 - factors) * _grey(pixels)
        _settle(pixels.mul_(factors).add_(shift))
    return pixels


def _factors(drawn: Tensor, place: int, strength: float) -> Tensor:
    """Returns factors from 1 - strength to 1 + strength, float32 [B, 1, 1, 1]."""
    table = _table(strength, drawn.device)
    return table[take_bits(drawn, INDEX_BITS * place, INDEX_BITS)][:, None, None, None]


def _grey(pixels: Tensor) -> Tensor:
    """Returns whole grey values, float32 [B, 1, H, W]."""
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = pixels[:, 0:1], pixels[:, 1:2], pixels[:, 2:3]
    grey = red * _RED
    grey.add_(green, alpha=_GREEN).add_(blue, alpha=_BLUE).add_(_UNIT / 2)
    return grey.mul_(1 / _UNIT).floor_()


def _mean_grey(pixels: Tensor) -> Tensor:
    """Returns each image's mean grey, rounded, float32 [B, 1, 1, 1]."""
    grey = _grey(pixels)
    count = grey[0].numel()
    # Sums of whole numbers in float64 are exact, and so the same in any order. Divided as integers: a device may
    # multiply by 1 / count instead, which puts a mean of 0.5 on either side.
    total = grey.sum(dim=(1, 2, 3), dtype=torch.float64, keepdim=True).to(torch.int64)
    return ((2 * total + count) // (2 * count)).to(torch.float32)


def _settle(pixels: Tensor) -> Tensor:
    return pixels.round_().clamp_(0.0, 255.0)


@lru_cache(maxsize=16)
def _table(strength: float, device: torch.device) -> Tensor:
    # A tensor that is made in inference mode could not be used in training later.
    with torch.inference_mode(mode=False):
        return quantile_table(lambda u: 1 + (2 * u - 1) * strength, bits=_FACTOR_BITS).to(device, torch.float32)
