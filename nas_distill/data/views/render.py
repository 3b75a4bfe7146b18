"""Views: augmentations that are a function of (seed, image index, view index) and of nothing else.

Teacher and students see the same pixels for the same view, whatever the batch, its order, the device or the
process, so that the teacher's answer to a view can be stored once and read by every trial. `viewing.view_batches`
is what training and the teacher's answers read; this module renders all of a view but its mixing with a partner.

Shapes: B images per batch, C channels, H = W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nas_distill.data.views.chunks import cpu_chunks
from nas_distill.data.views.colour import recolour
from nas_distill.data.views.geometry import crop, draw_shifts, warp
from nas_distill.data.views.plan import ViewPlan, plan_views
from nas_distill.data.views.random_bits import view_bits

__all__ = ["ViewPlan", "plan_views", "render_rows", "render_view"]


def render_view(images: Tensor, indices: Tensor, view: int, plan: ViewPlan) -> Tensor:
    """Returns view number `view` of each image: shifted, mirrored, warped and recoloured, as `plan` says.

    Args:
        images: uint8 [B, C, H, W].
        indices: int64 [B], each image's position in its split, on the same device.
        view: View number, from 0.
        plan: How views are made. Mixing, which needs a second image, is left to `viewing.view_batches`.

    Returns:
        uint8 [B, C, H, W] on the device of `images`; image b depends on `images[b]`, `indices[b]`, `view` and
        `plan` alone.
    """
    if plan.is_identity:
        return images
    return render_rows(images, torch.arange(len(images), device=images.device), indices, view, plan)


def render_rows(store: Tensor, rows: Tensor, indices: Tensor, view: int, plan: ViewPlan) -> Tensor:
    """Returns view number `view` of some images of a store, which is read once (see `render_view`).

    Args:
        store: uint8 [N, C, H, W].
        rows: int64 [B], where the images are in the store, on its device.
        indices: int64 [B], their positions in the split, likewise.
        view: View number, from 0.
        plan: How views are made.

    Returns:
        uint8 [B, C, H, W].
    """
    if plan.is_identity:
        return store.index_select(0, rows)
    bits = view_bits(indices, view, plan.seed)
    if not (plan.warps or plan.recolours):
        return crop(store, rows, draw_shifts(bits, plan))
    views = torch.empty((len(rows), *store.shape[1:]), dtype=torch.uint8, device=store.device)
    for here in cpu_chunks(views):
        views[here] = _in_floats(store, rows[here], bits[here], plan)
    return views


def _in_floats(store: Tensor, rows: Tensor, bits: Tensor, plan: ViewPlan) -> Tensor:
    """Returns views that are not copies of pixels, float32 [B, C, H, W], whole numbers from 0 to 255."""
    shifts = draw_shifts(bits, plan)
    if plan.warps:
        pixels = warp(store.index_select(0, rows), bits, shifts, plan)
    else:
        pixels = crop(store, rows, shifts).to(torch.float32)
    return recolour(pixels, bits, plan) if plan.recolours else pixels
