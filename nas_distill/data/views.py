"""Views: augmentations that are a function of (seed, image index, view index) and of nothing else.

Teacher and students see the same pixels for the same view, whatever the batch, its order, the device or the
process, so that the teacher's answer to a view can be stored once and read by every trial.

Shapes: B images per batch, C channels, H = W pixels. The random bits are those of SplitMix64 (Steele, Lea and
Flood 2014, "Fast splittable pseudorandom number generators", doi:10.1145/2660193.2660195), as a counter-based
hash.
"""

from __future__ import annotations

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor
from torch.nn import functional

from nas_distill.config import ViewsConfig
from nas_distill.data.manifest import DataManifest
from nas_distill.errors import ConfigError
from nas_distill.frozen import Record

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_DRAW_BITS = 24


class ViewPlan(Record):
    """How views are made; equal plans make equal pixels.

    Attributes:
        count: Views per image, numbered from 0.
        crop_padding: Largest shift in each direction, pixels; what is shifted in is black.
        flip: Mirror half of the views, left to right.
        seed: Of shifts and mirrors.
    """

    count: PositiveInt
    crop_padding: NonNegativeInt
    flip: bool
    seed: NonNegativeInt


def plan_views(config: ViewsConfig, manifest: DataManifest, *, epochs: int, online: bool) -> ViewPlan:
    """Returns the plan of `config`, with the defaults that suit the data and the length of the training.

    Args:
        config: What the user asked for.
        manifest: The images.
        epochs: Full fidelity; training uses one view per epoch, round robin.
        online: Whether the teacher is asked at every step; views then cost nothing to keep, so that each
            epoch gets its own by default.

    Raises:
        ConfigError: The padding is not below the image size.
    """
    padding = manifest.image_size // 8 if config.crop_padding is None else config.crop_padding
    if padding >= manifest.image_size:
        raise ConfigError(
            f"views.crop_padding: {padding} can shift images of {manifest.image_size} pixels out of sight; "
            f"give at most {manifest.image_size - 1}"
        )
    shared = min(epochs, 8 * -(-epochs // 24))
    return ViewPlan(
        count=config.count or (epochs if online else shared),
        crop_padding=padding,
        flip=manifest.channels == 3 if config.flip is None else config.flip,
        seed=config.seed,
    )


def render_view(images: Tensor, indices: Tensor, view: int, plan: ViewPlan) -> Tensor:
    """Returns view number `view` of each image: shifted, zero-padded and perhaps mirrored.

    Args:
        images: uint8 [B, C, H, W].
        indices: int64 [B], each image's position in its split, on the same device.
        view: View number, from 0.
        plan: How views are made.

    Returns:
        uint8 [B, C, H, W] on the device of `images`; image b depends on `images[b]`, `indices[b]`, `view` and
        `plan` alone.
    """
    if plan.crop_padding == 0 and not plan.flip:
        return images
    count, channels, height, width = images.shape
    down, right, mirrored = _draw(indices, view, plan)
    padding = plan.crop_padding
    rows = torch.arange(height, device=images.device) + (down + padding)[:, None]
    columns = torch.arange(width, device=images.device).expand(count, width)
    columns = torch.where(mirrored[:, None], width - 1 - columns, columns) + (right + padding)[:, None]
    pixels = (rows[:, :, None] * (width + 2 * padding) + columns[:, None, :]).reshape(count, 1, height * width)
    padded = functional.pad(images, (padding,) * 4).reshape(count, channels, -1)
    return padded.gather(2, pixels.expand(count, channels, height * width)).reshape(images.shape)


def view_bits(indices: Tensor, view: int, seed: int) -> Tensor:
    """Returns 64 random bits for each image: SplitMix64(SplitMix64(SplitMix64(seed) + index) + view).

    Args:
        indices: int64 [B].
        view: View number.
        seed: Any non-negative number; taken modulo 2^64.

    Returns:
        int64 [B] holding the bits of the unsigned result (arithmetic wraps modulo 2^64, on every device).
    """
    start = (_mix_number(seed & _MASK) + _GOLDEN) & _MASK
    keys = _mix(indices + _signed(start))
    return _mix(keys + _signed((view + _GOLDEN) & _MASK))


def _draw(indices: Tensor, view: int, plan: ViewPlan) -> tuple[Tensor, Tensor, Tensor]:
    """Returns shifts down and right, int64 [B] in -p..p, and whether to mirror, bool [B]."""
    bits = view_bits(indices, view, plan.seed)
    choices = 2 * plan.crop_padding + 1
    low, middle = bits & ((1 << _DRAW_BITS) - 1), _shift_right(bits, _DRAW_BITS) & ((1 << _DRAW_BITS) - 1)
    down = (low * choices >> _DRAW_BITS) - plan.crop_padding
    right = (middle * choices >> _DRAW_BITS) - plan.crop_padding
    mirrored = bits < 0 if plan.flip else torch.zeros_like(bits, dtype=torch.bool)
    return down, right, mirrored


def _signed(value: int) -> int:
    """Returns the int64 with the bits of the uint64 `value`."""
    return value - (1 << 64) if value >> 63 else value


def _shift_right(bits: Tensor, places: int) -> Tensor:
    """Returns the logical shift; int64 shifts copy the sign."""
    return (bits >> places) & ((1 << (64 - places)) - 1)


def _mix(bits: Tensor) -> Tensor:
    """Returns SplitMix64's finaliser of int64 `bits`."""
    bits = (bits ^ _shift_right(bits, 30)) * _signed(_MIX_1)
    bits = (bits ^ _shift_right(bits, 27)) * _signed(_MIX_2)
    return bits ^ _shift_right(bits, 31)


def _mix_number(seed: int) -> int:
    """Returns SplitMix64(seed), the same as `_mix` after the golden-ratio step, on a Python number."""
    bits = (seed + _GOLDEN) & _MASK
    bits = ((bits ^ (bits >> 30)) * _MIX_1) & _MASK
    bits = ((bits ^ (bits >> 27)) * _MIX_2) & _MASK
    return bits ^ (bits >> 31)
