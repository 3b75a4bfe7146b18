"""Random operations of one strength on a few views each, like RandAugment (Cubuk et al. 2020, arXiv 1909.13719).

Each view draws `plan.operations` times from `Operation`, uniformly; an operation that is drawn twice is applied once.
They are applied in the order of `Operation`, so that the geometric ones take part in the one resampling of the view.
Magnitudes at full strength are those of torchvision's `RandAugment`. Signs are random.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, auto
from typing import NamedTuple

import torch
from torch import Tensor

from nas_distill.data.views.plan import ViewPlan
from nas_distill.data.views.random_bits import derive_bits, take_bits

_KIND_STREAM, _SIGN_STREAM = 7, 8
_KIND_BITS = 12


class Operation(IntEnum):
    """What can be drawn; `NOTHING` leaves the view as it is."""

    NOTHING = 0
    ROTATE = auto()
    SHEAR = auto()
    SHIFT_ACROSS = auto()
    SHIFT_ALONG = auto()
    BRIGHTNESS = auto()
    CONTRAST = auto()
    SATURATION = auto()
    POSTERISE = auto()
    SOLARISE = auto()
    AUTOCONTRAST = auto()


_FULL_STRENGTH = {
    Operation.ROTATE: 30.0,
    Operation.SHEAR: 0.3,
    Operation.SHIFT_ACROSS: 0.45,
    Operation.SHIFT_ALONG: 0.45,
    Operation.BRIGHTNESS: 0.9,
    Operation.CONTRAST: 0.9,
    Operation.SATURATION: 0.9,
    Operation.POSTERISE: 4.0,
    Operation.SOLARISE: 256.0,
}


def magnitude(operation: Operation, strength: float) -> float:
    """Return the magnitude of an operation at a strength from 0 to 1.

    Returns:
        Degrees of a rotation, slope of a shear, share of the image's side of a shift, distance from 1 of a factor,
        bits removed by posterising, or grey levels that are solarised.
    """
    return strength * _FULL_STRENGTH[operation]


class DrawnOperations(NamedTuple):
    """The operations of B views.

    Attributes:
        kinds: One bit per operation, int64 [B].
        signs: One random bit per operation, int64 [B].
    """

    kinds: Tensor
    signs: Tensor

    def chosen(self, operation: Operation) -> Tensor:
        """Return whether each view has the operation, bool [B]."""
        return take_bits(self.kinds, operation, 1) == 1

    def signed(self, operation: Operation, value: float) -> Tensor:
        """Return plus or minus `value` for views with the operation and 0 for the others, float64 [B]."""
        sign = 2 * take_bits(self.signs, operation, 1) - 1
        return (sign * self.chosen(operation)).to(torch.float64) * value


def draw_operations(bits: Tensor, plan: ViewPlan) -> DrawnOperations:
    """Draw the operations of each view.

    Args:
        bits: Random bits of the views, int64 [B], from `view_bits`.
        plan: Augmentation settings.
    """
    drawn = derive_bits(bits, _KIND_STREAM)
    kinds = torch.zeros_like(bits)
    for number in range(plan.operations):
        kind = take_bits(drawn, _KIND_BITS * number, _KIND_BITS) * len(Operation) >> _KIND_BITS
        kinds |= torch.ones_like(kind) << kind
    return DrawnOperations(kinds, derive_bits(bits, _SIGN_STREAM))


def apply_to(pixels: Tensor, chosen: Tensor, function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the views with `function` applied to the chosen ones.

    Args:
        pixels: Integer-valued pixels, float32 [B, C, H, W]; may be changed in place.
        chosen: Whether to apply it to each view, bool [B].
        function: Function of pixels, float32 [M, C, H, W], and of the positions of their views, int64 [M]; it may
            change the pixels in place.
    """
    if pixels.device.type == "cpu":
        rows = chosen.nonzero()[:, 0]
        if len(rows):
            pixels[rows] = function(pixels[rows], rows)
        return pixels
    # Selecting views would synchronise with the host.
    changed = function(pixels.clone(), torch.arange(len(pixels), device=pixels.device))
    return torch.where(chosen[:, None, None, None], changed, pixels)


def posterise(pixels: Tensor, strength: float) -> Tensor:
    """Return pixels without their lowest bits, as Pillow's `ImageOps.posterize`; changed in place."""
    step = float(1 << round(magnitude(Operation.POSTERISE, strength)))
    return pixels.mul_(1 / step).floor_().mul_(step)


def solarise(pixels: Tensor, strength: float) -> Tensor:
    """Return pixels of which the brightest are inverted, as Pillow's `ImageOps.solarize`."""
    threshold = 256 - round(magnitude(Operation.SOLARISE, strength))
    return torch.where(pixels >= threshold, 255 - pixels, pixels)


def autocontrast(pixels: Tensor) -> Tensor:
    """Return pixels stretched to 0..255 in each channel, as Pillow's `ImageOps.autocontrast`; constant ones stay."""
    low, high = pixels.amin(dim=(2, 3), keepdim=True), pixels.amax(dim=(2, 3), keepdim=True)
    # In integers: a device may divide by multiplying with the inverse.
    spread = (high - low).to(torch.int64)
    stretched = (pixels - low).to(torch.int64) * 255 // spread.clamp_min(1)
    return torch.where(spread > 0, stretched.to(torch.float32), pixels)
