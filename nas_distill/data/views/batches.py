"""`view_batches`: one view of a split's images, in batches, for training and for the teacher's stored outputs."""

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

# Pixels per channel rendered at once if all images are resident. Rendering several batches together shares the fixed
# cost of a dozen small operations. On a CPU, rendered pixels should still be in the caches when they are read.
_CPU_CHUNK_PIXELS = 1 << 19
_GPU_CHUNK_PIXELS = 1 << 23


class ViewBatch(NamedTuple):
    """Views of B images on one device.

    Attributes:
        indices: Positions in the split, int64 [B].
        images: Rendered (and possibly mixed) views, uint8 [B, C, H, W].
        targets: Labels, int64 [B]; if the plan mixes images, the share of each class, float32 [B, K].
    """

    indices: Tensor
    images: Tensor
    targets: Tensor


def view_batches(
    split: ImageSplit, order: Tensor, batch_size: int, *, view: int, plan: ViewPlan, device: torch.device
) -> Iterator[ViewBatch]:
    """Yield view number `view` of the images at `order` in batches; the last batch may be smaller.

    Pixels and targets of an image depend on its position, the view, the plan and the split, and not on `order`,
    `batch_size` or `device`. The partner of a mixed image is rendered as its own view of the same number.

    Args:
        split: Images.
        order: Positions in the split, int64 [M], 0 to N-1, in any order, with or without repetitions.
        batch_size: Images per batch, at least 1.
        view: View number, from 0.
        plan: Augmentation settings.
        device: Device of the batches.

    Raises:
        DataError: An image or partner that is decoded on demand is damaged.
    """
    renderer = _Renderer(split=split, view=view, plan=plan, device=device)
    store = split.resident(device)
    if store is None:
        yield from _render_as_read(renderer, order, batch_size)
    else:
        yield from _render_resident(renderer, store, order, batch_size)


class _Renderer(NamedTuple):
    """Renders one view of the images of one split."""

    split: ImageSplit
    view: int
    plan: ViewPlan
    device: torch.device

    def partners(self, indices: Tensor) -> Tensor:
        """Return the positions of the partners in the split, int64 [B]; an image's own position if it is not mixed."""
        bits = view_bits(indices, self.view, self.plan.seed)
        return draw_partners(indices, bits, self.plan, self.split.num_images)

    def render(self, store: Tensor, rows: Tensor, indices: Tensor) -> ViewBatch:
        """Return unmixed views of the images at `rows` of `store`; `indices` are their positions in the split."""
        images = render_rows(store, rows, indices, self.view, self.plan)
        return ViewBatch(indices, images, self.split.labels_on(self.device).index_select(0, indices))

    def mix(self, own: ViewBatch, partner: ViewBatch) -> ViewBatch:
        """Return the views of images mixed with those of their partners."""
        bits = view_bits(own.indices, self.view, self.plan.seed)
        images, share = mix_views(own.images, partner.images, bits, self.plan)
        targets = mixed_targets(own.targets, partner.targets, share, self.split.manifest.num_classes)
        return ViewBatch(own.indices, images, targets)


def _render_resident(renderer: _Renderer, store: Tensor, order: Tensor, batch_size: int) -> Iterator[ViewBatch]:
    """Render several batches at once, straight from the resident images."""
    chunk_pixels = _CPU_CHUNK_PIXELS if store.device.type == "cpu" else _GPU_CHUNK_PIXELS
    batches_per_chunk = max(1, chunk_pixels // (store.shape[2] * store.shape[3]) // batch_size)
    for indices in batch_positions(order.to(renderer.device), batches_per_chunk * batch_size):
        views = renderer.render(store, indices, indices)
        if renderer.plan.is_mixed:
            partners = renderer.partners(indices)
            views = renderer.mix(views, renderer.render(store, partners, partners))
        yield from (ViewBatch(*fields) for fields in zip(*(torch.split(f, batch_size) for f in views), strict=True))


def _render_as_read(renderer: _Renderer, order: Tensor, batch_size: int) -> Iterator[ViewBatch]:
    """Render batch by batch, as the images are read.

    Partners are read together with the batch that needs them, so mixing reads up to twice as many images.
    """
    on_host = batch_positions(order.cpu(), batch_size)
    on_device = batch_positions(order.to(renderer.device), batch_size)
    to_read = (_with_partners(renderer, batch) for batch in on_host) if renderer.plan.is_mixed else iter(on_host)
    read = renderer.split.read(to_read, device=renderer.device)
    for batch, indices, images in zip(on_host, on_device, read, strict=True):
        views = renderer.render(images, torch.arange(len(batch), device=renderer.device), indices)
        if renderer.plan.is_mixed:
            rows = _partner_rows(renderer, batch).to(renderer.device, non_blocking=True)
            views = renderer.mix(views, renderer.render(images, rows, renderer.partners(indices)))
        yield views


def _with_partners(renderer: _Renderer, batch: Tensor) -> Tensor:
    """Return the positions in `batch`, followed by those of the partners of its mixed images."""
    partners = renderer.partners(batch)
    return torch.cat((batch, partners[partners != batch]))


def _partner_rows(renderer: _Renderer, batch: Tensor) -> Tensor:
    """Return the index of each image's partner in `_with_partners`, int64 [B]."""
    has_partner = renderer.partners(batch) != batch
    own_rows = torch.arange(len(batch))
    return torch.where(has_partner, len(batch) - 1 + has_partner.cumsum(0), own_rows)
