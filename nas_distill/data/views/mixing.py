"""Mix an image with a partner image: mixup and CutMix.

Sources: mixup, Zhang et al. 2018 (arXiv 1710.09412); CutMix, Yun et al. 2019 (arXiv 1905.04899).

Partner, share and box depend on (seed, image index, view index) and not on the batch, so the teacher's outputs for a
mixed image can be stored like any other. Mixed pixels are uint8, so teacher and student see the same image.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas_distill.data.views.chunks import cpu_chunks
from nas_distill.data.views.plan import ViewPlan
from nas_distill.data.views.random_bits import INDEX_BITS, derive_bits, quantile_table, take_below, take_bits

_STRENGTH_STREAM, _PARTNER_STREAM, _CENTRE_STREAM = 3, 4, 5
_DECISION_BITS = 24
_CENTRE_BITS = 24
_SHARE_BITS = 16


def draw_partners(indices: Tensor, bits: Tensor, plan: ViewPlan, num_images: int) -> Tensor:
    """Draw the partner of each image, uniformly from the split.

    Args:
        indices: Positions of the images in the split, int64 [B].
        bits: Random bits of the views, int64 [B], from `view_bits`.
        plan: Augmentation settings.
        num_images: Number of images N in the split.

    Returns:
        Positions of the partners in the split, int64 [B], 0 to N-1; an image's own position if it is not mixed.
    """
    return torch.where(_is_mixed(bits, plan), take_below(derive_bits(bits, _PARTNER_STREAM), num_images), indices)


def mix_views(own: Tensor, other: Tensor, bits: Tensor, plan: ViewPlan) -> tuple[Tensor, Tensor]:
    """Mix the views of images with those of their partners.

    Args:
        own: Views of the images, uint8 [B, C, H, W].
        other: Views of their partners, uint8 [B, C, H, W].
        bits: Random bits of the images' views, int64 [B], from `view_bits`.
        plan: Augmentation settings with `plan.is_mixed`.

    Returns:
        Mixed views, uint8 [B, C, H, W], and the share of the image itself in each, float32 [B], 0 to 1: the weight of
        mixup, or the exact share of pixels of CutMix.
    """
    return (_mixup if plan.mix == "mixup" else _cutmix)(own, other, bits, plan)


def mixed_targets(own: Tensor, other: Tensor, share: Tensor, num_classes: int) -> Tensor:
    """Return the share of each class in each mixed image, float32 [B, K].

    Args:
        own: Labels of the images, int64 [B].
        other: Labels of their partners, int64 [B].
        share: Share of the images' own labels, float32 [B], 0 to 1.
        num_classes: Number of classes K.
    """
    targets = torch.zeros(len(own), num_classes, device=own.device)
    targets.scatter_(1, own[:, None], share[:, None])
    return targets.scatter_add_(1, other[:, None], 1 - share[:, None])


def _is_mixed(bits: Tensor, plan: ViewPlan) -> Tensor:
    drawn = take_bits(derive_bits(bits, _STRENGTH_STREAM), INDEX_BITS, _DECISION_BITS)
    return drawn < round(plan.mix_share * (1 << _DECISION_BITS))


def _mixup(own: Tensor, other: Tensor, bits: Tensor, plan: ViewPlan) -> tuple[Tensor, Tensor]:
    share = torch.where(_is_mixed(bits, plan), _strengths(_own_shares, bits, plan), 1.0)
    mixed = torch.empty_like(own)
    for here in cpu_chunks(own):
        # Shares have 16 binary places and pixels 8 bits, so the blend is exact until `round_` (see `geometry.warp`).
        blend = torch.lerp(other[here].to(torch.float32), own[here].to(torch.float32), share[here, None, None, None])
        mixed[here] = blend.round_()
    return mixed, share


def _cutmix(own: Tensor, other: Tensor, bits: Tensor, plan: ViewPlan) -> tuple[Tensor, Tensor]:
    _, _, height, width = own.shape
    side = torch.where(_is_mixed(bits, plan), _strengths(_box_sides, bits, plan), 0.0)
    centre = derive_bits(bits, _CENTRE_STREAM)
    top, bottom = _edges(take_bits(centre, 0, _CENTRE_BITS), side, height)
    left, right = _edges(take_bits(centre, _CENTRE_BITS, _CENTRE_BITS), side, width)
    rest = height * width - (bottom - top) * (right - left)
    paste = _paste_by_slices if own.device.type == "cpu" else _paste_by_mask
    return paste(own, other, top, bottom, left, right), (rest.to(torch.float64) / (height * width)).to(torch.float32)


def _edges(centre: Tensor, side: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Return the first pixel of the box and the first pixel after it, int64 [B], clipped to 0..`length`."""
    middle = centre * length >> _CENTRE_BITS
    half = (side * length).to(torch.int64) // 2
    return (middle - half).clamp_min(0), (middle + half).clamp_max(length)


def _paste_by_slices(own: Tensor, other: Tensor, *box: Tensor) -> Tensor:
    """Paste on a CPU: copy the boxes only, as `geometry._crop_by_slices` does."""
    mixed = own.clone()
    target, source = mixed.numpy(), other.numpy()
    for view, (top, bottom, left, right) in enumerate(zip(*(edge.tolist() for edge in box), strict=True)):
        target[view, :, top:bottom, left:right] = source[view, :, top:bottom, left:right]
    return mixed


def _paste_by_mask(own: Tensor, other: Tensor, *box: Tensor) -> Tensor:
    """Paste on an accelerator, without synchronising with the host."""
    top, bottom, left, right = (edge[:, None] for edge in box)
    rows, columns = (torch.arange(length, device=own.device) for length in own.shape[2:])
    in_row, in_column = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    return torch.where((in_row[:, :, None] & in_column[:, None, :])[:, None], other, own)


def _strengths(function: Callable[[NDArray[np.float64]], NDArray[np.float64]], bits: Tensor, plan: ViewPlan) -> Tensor:
    """Return `function` of a share drawn from Beta(mix_alpha, mix_alpha), float32 [B]."""
    table = _table(function, plan.mix_alpha, bits.device)
    return table[take_bits(derive_bits(bits, _STRENGTH_STREAM), 0, INDEX_BITS)]


def _own_shares(share: NDArray[np.float64]) -> NDArray[np.float64]:
    return share


def _box_sides(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the relative side length of the box that leaves `share` of the image (equation 2 of CutMix)."""
    return np.sqrt(1 - share)


@lru_cache(maxsize=8)
def _table(
    function: Callable[[NDArray[np.float64]], NDArray[np.float64]], alpha: float, device: torch.device
) -> Tensor:
    from scipy.stats import beta  # imported here: it takes a second, and only mixing needs it

    # Autograd cannot use tensors that were created in inference mode.
    with torch.inference_mode(mode=False):
        drawn = quantile_table(lambda u: function(beta.ppf(u, alpha, alpha)), bits=_SHARE_BITS)
        return drawn.to(device, torch.float32)
