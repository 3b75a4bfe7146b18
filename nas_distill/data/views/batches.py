"""`view_batches`: one view of a split's images, in batches, as teacher and students see them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from nas_distill.data.splits import ImageSplit, batch_positions
from nas_distill.data.views.mixing import draw_partners, mix_views, mixed_targets
from nas_distill.data.views.plan import ViewPlan
from nas_distill.data.views.random_bits import view_bits
from nas_distill.data.views.render import render_rows

# Pixels (per channel) rendered at once where all images are at hand: the handful of operations on numbers per image
# is then shared by several batches. On a CPU, what is rendered should still be in its caches when it is read.
_CHUNK_PIXELS = {"cpu": 1 << 19}
_CHUNK_PIXELS_ELSEWHERE = 1 << 23


class ViewBatch(NamedTuple):
    """Views of images on one device; B is at most the batch size asked for.

    Attributes:
        indices: int64 [B], positions in the split.
        images: uint8 [B, C, H, W], rendered, and mixed where the plan says so.
        targets: int64 [B], the labels; where the plan mixes images float32 [B, K], each class's share of the image.
    """

    indices: Tensor
    images: Tensor
    targets: Tensor


def view_batches(
    split: ImageSplit, order: Tensor, batch_size: int, *, view: int, plan: ViewPlan, device: torch.device
) -> Iterator[ViewBatch]:
    """Yields view number `view` of the images at `order`, `batch_size` at a time; the last batch may be smaller.

    Pixels and targets of an image depend on its position, the view, the plan and the split alone: not on `order`,
    `batch_size` or `device`. The partner of a mixed image is seen in its own view of the same number.

    Args:
        split: The images.
        order: int64 [M], positions in the split, 0 to N-1, in any order, repeats allowed.
        batch_size: At least 1.
        view: View number, from 0.
        plan: How views are made.
        device: Where the batches are wanted.

    Raises:
        DataError: An image or partner that was not decoded before is damaged.
    """
    scene = _Scene(split=split, view=view, plan=plan, device=device)
    store = split.resident(device)
    if store is None:
        yield from _views_of_read(scene, order, batch_size)
    else:
        yield from _views_of_resident(scene, store, order, batch_size)


class _Scene(NamedTuple):
    """What is rendered, and where."""

    split: ImageSplit
    view: int
    plan: ViewPlan
    device: torch.device

    def partners(self, indices: Tensor) -> Tensor:
        """Returns the partners' positions in the split, int64 [B]; an image's own where it is not mixed."""
        bits = view_bits(indices, self.view, self.plan.seed)
        return draw_partners(indices, bits, self.plan, self.split.num_images)

    def plain(self, store: Tensor, rows: Tensor, indices: Tensor) -> ViewBatch:
        """Returns the views of the images at `rows` of the store; `indices` are their positions in the split."""
        images = render_rows(store, rows, indices, self.view, self.plan)
        return ViewBatch(indices, images, self.split.labels_on(self.device).index_select(0, indices))

    def mixed(self, own: ViewBatch, partner: ViewBatch) -> ViewBatch:
        """Returns the views of images mixed with those of their partners."""
        bits = view_bits(own.indices, self.view, self.plan.seed)
        images, share = mix_views(own.images, partner.images, bits, self.plan)
        targets = mixed_targets(own.targets, partner.targets, share, self.split.manifest.num_classes)
        return ViewBatch(own.indices, images, targets)


def _views_of_resident(scene: _Scene, store: Tensor, order: Tensor, batch_size: int) -> Iterator[ViewBatch]:
    """Renders several batches at once, straight out of the store."""
    pixels = _CHUNK_PIXELS.get(store.device.type, _CHUNK_PIXELS_ELSEWHERE) // (store.shape[2] * store.shape[3])
    for indices in batch_positions(order.to(scene.device), max(1, pixels // batch_size) * batch_size):
        views = scene.plain(store, indices, indices)
        if scene.plan.mixes:
            partners = scene.partners(indices)
            views = scene.mixed(views, scene.plain(store, partners, partners))
        yield from (ViewBatch(*parts) for parts in zip(*(torch.split(part, batch_size) for part in views), strict=True))


def _views_of_read(scene: _Scene, order: Tensor, batch_size: int) -> Iterator[ViewBatch]:
    """Renders batch by batch, as the images come.

    Partners come with the batch that they are needed for: with mixing, up to twice as many images are decoded.
    """
    parts = batch_positions(order.cpu(), batch_size)
    here = batch_positions(order.to(scene.device), batch_size)
    asked = (_with_partners(scene, part) for part in parts) if scene.plan.mixes else iter(parts)
    for part, indices, images in zip(parts, here, scene.split.read(asked, device=scene.device), strict=True):
        views = scene.plain(images, torch.arange(len(part), device=scene.device), indices)
        if scene.plan.mixes:
            rows = _partner_rows(scene, part).to(scene.device, non_blocking=True)
            views = scene.mixed(views, scene.plain(images, rows, scene.partners(indices)))
        yield views


def _with_partners(scene: _Scene, part: Tensor) -> Tensor:
    """Returns the positions in `part`, then those of the partners, without a partner for what is not mixed."""
    partners = scene.partners(part)
    return torch.cat((part, partners[partners != part]))


def _partner_rows(scene: _Scene, part: Tensor) -> Tensor:
    """Returns where in the images of `_with_partners` each image's partner is, int64 [B]."""
    is_other = scene.partners(part) != part
    own = torch.arange(len(part))
    return torch.where(is_other, len(part) - 1 + is_other.cumsum(0), own)
