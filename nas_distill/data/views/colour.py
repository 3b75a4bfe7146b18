"""Change brightness, contrast and saturation like Pillow's `ImageEnhance` and torchvision's `ColorJitter`.

Factors are multiples of 1/4096 and pixels are integers, so every product and sum below is exact in float32 (24 bits).
The result is therefore the same on every device and in every batch.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from nas_distill.data.views.plan import ViewPlan
from nas_distill.data.views.random_bits import INDEX_BITS, derive_bits, quantile_table, take_bits

_STREAM = 2
_FACTOR_BITS = 12
# Rec. 601 luma weights in units of 1/65536, as in Pillow's conversion to grey.
_RED, _GREEN, _BLUE, _UNIT = 19595.0, 38470.0, 7471.0, 65536.0


def recolour(pixels: Tensor, bits: Tensor, plan: ViewPlan) -> Tensor:
    """Change brightness, contrast and saturation, in this order; each step rounds and clips to 0..255.

    Args:
        pixels: Integer-valued pixels, float32 [B, C, H, W], 0 to 255; changed in place.
        bits: Random bits of the views, int64 [B], from `view_bits`.
        plan: Augmentation settings.

    Returns:
        `pixels`.
    """
    drawn = derive_bits(bits, _STREAM)
    if plan.brightness > 0:
        _round_and_clip_(pixels.mul_(_factors(drawn, 0, plan.brightness)))
    if plan.contrast > 0:
        factors = _factors(drawn, 1, plan.contrast)
        shift = (1 - factors) * _mean_grey(pixels)
        _round_and_clip_(pixels.mul_(factors).add_(shift))
    if plan.saturation > 0 and pixels.shape[1] == 3:
        factors = _factors(drawn, 2, plan.saturation)
        shift = (1 - factors) * _grey(pixels)
        _round_and_clip_(pixels.mul_(factors).add_(shift))
    return pixels


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
