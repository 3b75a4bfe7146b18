"""Render a view of each image of a batch: crop, flip, warp and colour, everything except mixing.

Teacher and students see the same pixels for the same view, whatever the batch, its order, the device or the process.
The teacher's outputs for a view can therefore be stored once and read by every trial.

Shapes: B images per batch, C channels, H = W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nas_distill.data.views.chunks import cpu_chunks
from nas_distill.data.views.colour import recolour
from nas_distill.data.views.geometry import crop, draw_shifts, warp
from nas_distill.data.views.plan import ViewPlan
from nas_distill.data.views.random_bits import view_bits


def render_view(images: Tensor, indices: Tensor, view: int, plan: ViewPlan) -> Tensor:
    """Return view number `view` of each image.

    Args:
        images: Images, uint8 [B, C, H, W].
        indices: Position of each image in its split, int64 [B], on the same device.
        view: View number, from 0.
        plan: Augmentation settings. Mixing is ignored: it needs a second image (see `batches.view_batches`).

    Returns:
        uint8 [B, C, H, W] on the device of `images`. Image b depends only on `images[b]`, `indices[b]`, `view` and
        `plan`.
    """
    if plan.is_identity:
        return images
    return render_rows(images, torch.arange(len(images), device=images.device), indices, view, plan)


def render_rows(store: Tensor, rows: Tensor, indices: Tensor, view: int, plan: ViewPlan) -> Tensor:
    """Return view number `view` of selected images of a store, without copying the images first.

    Args:
        store: Images, uint8 [N, C, H, W].
        rows: Index in `store` of each image, int64 [B], on the same device.
        indices: Position of each image in its split, int64 [B], on the same device.
        view: View number, from 0.
        plan: Augmentation settings; mixing is ignored.

    Returns:
        uint8 [B, C, H, W].
    """
    if plan.is_identity:
        return store.index_select(0, rows)
    bits = view_bits(indices, view, plan.seed)
    if not (plan.is_warped or plan.is_recoloured):
        return crop(store, rows, draw_shifts(bits, plan))
    views = torch.empty((len(rows), *store.shape[1:]), dtype=torch.uint8, device=store.device)
    for chunk in cpu_chunks(views):
        views[chunk] = _render_float(store, rows[chunk], bits[chunk], plan)
    return views


def _render_float(store: Tensor, rows: Tensor, bits: Tensor, plan: ViewPlan) -> Tensor:
    """Return warped or recoloured views as integer-valued pixels, float32 [B, C, H, W], 0 to 255."""
    shifts = draw_shifts(bits, plan)
    if plan.is_warped:
        pixels = warp(store.index_select(0, rows), bits, shifts, plan)
    else:
        pixels = crop(store, rows, shifts).to(torch.float32)
    return recolour(pixels, bits, plan) if plan.is_recoloured else pixels
