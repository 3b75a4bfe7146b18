"""Measure a network on a split: one pass that computes every metric."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import torch
from torch import Tensor

from nas_distill.data.splits import ImageBatch, ImageSplit
from nas_distill.knowledge.features import feature_positions
from nas_distill.knowledge.store import ReferenceOutputs
from nas_distill.model_outputs import ModelOutputs
from nas_distill.models.memory import with_halved_batches
from nas_distill.train.metrics import MetricSums, SplitMetrics, metric_sums

_PIXELS = 2**20
_LARGEST_BATCH = 512
_RESIDENT_BYTES = 2**28


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The teacher's logits for plain images, which students are compared with.

    Attributes:
        validation: Logits of the validation images, float32 [N_validation, C].
        teacher: Metrics of the teacher on validation.
        subset_indices: Positions of the fixed training subset in the training split, int64 [M].
        subset: Logits of the fixed training subset, float32 [M, C].
        features: The teacher's penultimate features of the validation images at
            `knowledge.features.feature_positions`, float32 [F, D]; None if they are not stored.
    """

    validation: Tensor
    teacher: SplitMetrics
    subset_indices: Tensor
    subset: Tensor
    features: Tensor | None = None

    @classmethod
    def from_store(cls, stored: ReferenceOutputs, labels: Tensor, device: torch.device) -> Reference:
        """Build a reference from stored logits. Small tensors are moved to the device.

        Args:
            stored: Stored logits of the teacher.
            labels: Labels of the validation images, int64 [N_validation], on the CPU.
            device: Device on which students are measured.
        """

        def move_if_small(logits: Tensor) -> Tensor:
            return logits.to(device) if logits.nbytes <= _RESIDENT_BYTES else logits

        logits = torch.split(stored.validation, _LARGEST_BATCH)
        parts = zip(logits, torch.split(labels, _LARGEST_BATCH), strict=True)
        return cls(
            validation=move_if_small(stored.validation),
            teacher=_total(metric_sums(logits, truth) for logits, truth in parts).metrics(),
            subset_indices=stored.subset_indices,
            subset=move_if_small(stored.subset),
            features=stored.features,
        )

    def restricted_to(self, positions: Tensor) -> Reference:
        """Return the reference for a student that is trained on some of the training images.

        Args:
            positions: Positions of these images in the training split, int64 [M].
        """
        return self._with_subset(torch.isin(self.subset_indices, positions))

    def for_fold(self, indices: Tensor, logits: Tensor, labels: Tensor) -> Reference:
        """Return the reference for a fold: measured on part of the training split, trained on the rest.

        Args:
            indices: Positions in the training split that the student is measured on, int64 [V].
            logits: The teacher's logits for these images, float32 [V, C].
            labels: Labels of these images, int64 [V].
        """
        teacher = metric_sums(logits, labels.to(logits.device)).metrics()
        return replace(
            self._with_subset(~torch.isin(self.subset_indices, indices)),
            validation=logits,
            teacher=teacher,
            features=None,
        )

    def _with_subset(self, kept: Tensor) -> Reference:
        return replace(self, subset_indices=self.subset_indices[kept], subset=self.subset[kept.to(self.subset.device)])


def evaluate(
    network: Callable[[Tensor], Tensor],
    split: ImageSplit,
    *,
    device: torch.device,
    indices: Tensor | None = None,
    teacher_logits: Tensor | None = None,
    factor: Tensor | float = 1.0,
) -> MetricSums:
    """Measure a network on plain images, without synchronising with the device before the end.

    Args:
        network: Function from uint8 images [B, C, H, W] on `device` to logits [B, K], in eval mode.
        split: Images to measure on.
        device: Device of the network.
        indices: Positions in the split, int64 [M]. Default: all.
        teacher_logits: The teacher's logits for the same images, float32 [M, K].
        factor: Factor on the network's logits, or one for each image, float64 [M].
    """

    def outputs(images: Tensor) -> ModelOutputs:
        return ModelOutputs(network(images))

    found, _ = measure(outputs, split, device=device, indices=indices, teacher_logits=teacher_logits, factor=factor)
    return found


def measure(
    outputs: Callable[[Tensor], ModelOutputs],
    split: ImageSplit,
    *,
    device: torch.device,
    indices: Tensor | None = None,
    teacher_logits: Tensor | None = None,
    factor: Tensor | float = 1.0,
) -> tuple[MetricSums, Tensor | None]:
    """Measure as `evaluate` does, and return the network's embeddings of some images from the same pass.

    Args:
        outputs: Function from uint8 images [B, C, H, W] on `device` to logits and, if available, embeddings.
        split: Images to measure on.
        device: Device of the network.
        indices: Positions in the split, int64 [M]. Default: all.
        teacher_logits: The teacher's logits for the same images, float32 [M, K].
        factor: Factor on the network's logits, or one for each image, float64 [M].

    Returns:
        The sums, and the embeddings of the measured images at `feature_positions`, float32 [F, D] on the CPU; None
        without embeddings.
    """
    order = torch.arange(split.num_images) if indices is None else indices
    is_kept = torch.zeros(len(order), dtype=torch.bool)
    is_kept[feature_positions(len(order))] = True

    def in_batches_of(size: int) -> tuple[MetricSums, Tensor | None]:
        batches = split.batches(order, size, device=device)
        return _pass(outputs, batches, size, teacher_logits=teacher_logits, factor=factor, is_kept=is_kept)

    return with_halved_batches(in_batches_of, batch_size(split.manifest.image_size), device)


def _pass(
    outputs: Callable[[Tensor], ModelOutputs],
    batches: Iterable[ImageBatch],
    size: int,
    *,
    teacher_logits: Tensor | None,
    factor: Tensor | float,
    is_kept: Tensor,
) -> tuple[MetricSums, Tensor | None]:
    total: MetricSums | None = None
    features: list[Tensor] = []
    with torch.inference_mode():
        for number, batch in enumerate(batches):
            rows = slice(number * size, number * size + len(batch.labels))
            teacher = None if teacher_logits is None else teacher_logits[rows].to(batch.labels.device)
            predicted = outputs(batch.images)
            own = factor[rows, None].to(batch.labels.device) if isinstance(factor, Tensor) else factor
            found = metric_sums(own * predicted.logits.double(), batch.labels, teacher)
            total = found if total is None else total + found
            if predicted.embedding is not None:
                features.append(predicted.embedding[is_kept[rows].to(predicted.embedding.device)].float().cpu())
    assert total is not None
    return total, torch.cat(features) if features else None


def _total(parts: Iterable[MetricSums]) -> MetricSums:
    return reduce(add, parts)


def batch_size(image_size: int) -> int:
    """Return a batch size, a power of 2, that limits the number of pixels per batch."""
    batch = _LARGEST_BATCH
    while batch > 1 and batch * image_size**2 > _PIXELS:
        batch //= 2
    return batch
