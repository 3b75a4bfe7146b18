"""Measuring a network on a split, in one pass that yields every metric."""

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
    """What students are measured against: the teacher's answers to plain images.

    Attributes:
        validation: float32 [N_validation, C].
        teacher: The teacher's own worth on validation.
        subset_indices: int64 [M], positions in the training split: the fixed training subset.
        subset: float32 [M, C].
        features: float32 [F, D], the teacher's penultimate features of the validation images at
            `knowledge.features.feature_positions`; None where there are none.
    """

    validation: Tensor
    teacher: SplitMetrics
    subset_indices: Tensor
    subset: Tensor
    features: Tensor | None = None

    @classmethod
    def from_store(cls, stored: ReferenceOutputs, labels: Tensor, device: torch.device) -> Reference:
        """Take the stored answers, to the device where they are small.

        Args:
            stored: The answers.
            labels: int64 [N_validation], on the CPU.
            device: Where students are measured.
        """

        def near(logits: Tensor) -> Tensor:
            return logits.to(device) if logits.nbytes <= _RESIDENT_BYTES else logits

        answers = torch.split(stored.validation, _LARGEST_BATCH)
        parts = zip(answers, torch.split(labels, _LARGEST_BATCH), strict=True)
        return cls(
            validation=near(stored.validation),
            teacher=_total(metric_sums(logits, truth) for logits, truth in parts).metrics(),
            subset_indices=stored.subset_indices,
            subset=near(stored.subset),
            features=stored.features,
        )

    def restricted_to(self, positions: Tensor) -> Reference:
        """Return the reference of a student that is trained on some of the training images.

        Args:
            positions: int64 [M], in the training split.
        """
        return self._keeping(torch.isin(self.subset_indices, positions))

    def for_fold(self, indices: Tensor, answers: Tensor, labels: Tensor) -> Reference:
        """Return the reference of a student that is measured on part of the training split and trained on the rest.

        Args:
            indices: int64 [V], positions in the training split that it is measured on.
            answers: float32 [V, C], the teacher's answers to them.
            labels: int64 [V], their labels.
        """
        teacher = metric_sums(answers, labels.to(answers.device)).metrics()
        return replace(
            self._keeping(~torch.isin(self.subset_indices, indices)), validation=answers, teacher=teacher, features=None
        )

    def _keeping(self, kept: Tensor) -> Reference:
        return replace(self, subset_indices=self.subset_indices[kept], subset=self.subset[kept.to(self.subset.device)])


def evaluate(
    network: Callable[[Tensor], Tensor],
    split: ImageSplit,
    *,
    device: torch.device,
    indices: Tensor | None = None,
    teacher_logits: Tensor | None = None,
) -> MetricSums:
    """Measure the answers of a network to plain images; nothing waits for the device before the end.

    Args:
        network: From uint8 images [B, C, H, W] on `device` to logits [B, K]; in eval mode.
        split: The images.
        device: Where the network is.
        indices: int64 [M], positions in the split; all by default.
        teacher_logits: float32 [M, K], the teacher's answers to the same images.
    """

    def answer(images: Tensor) -> ModelOutputs:
        return ModelOutputs(network(images))

    found, _ = measure(answer, split, device=device, indices=indices, teacher_logits=teacher_logits)
    return found


def measure(
    answer: Callable[[Tensor], ModelOutputs],
    split: ImageSplit,
    *,
    device: torch.device,
    indices: Tensor | None = None,
    teacher_logits: Tensor | None = None,
) -> tuple[MetricSums, Tensor | None]:
    """Measure as `evaluate` does, and returns the network's features of some images from the same pass.

    Args:
        answer: From uint8 images [B, C, H, W] on `device` to logits and, where it gives them, embeddings.
        split: The images.
        device: Where the network is.
        indices: int64 [M], positions in the split; all by default.
        teacher_logits: float32 [M, K], the teacher's answers to the same images.

    Returns:
        The sums, and float32 [F, D] on the CPU: the embeddings of the images at `feature_positions` of those measured.
    """
    order = torch.arange(split.num_images) if indices is None else indices
    is_kept = torch.zeros(len(order), dtype=torch.bool)
    is_kept[feature_positions(len(order))] = True

    def in_batches_of(size: int) -> tuple[MetricSums, Tensor | None]:
        return _pass(answer, split.batches(order, size, device=device), size, teacher_logits, is_kept)

    return with_halved_batches(in_batches_of, batch_size(split.manifest.image_size), device)


def _pass(
    answer: Callable[[Tensor], ModelOutputs],
    batches: Iterable[ImageBatch],
    size: int,
    teacher_logits: Tensor | None,
    is_kept: Tensor,
) -> tuple[MetricSums, Tensor | None]:
    total: MetricSums | None = None
    features: list[Tensor] = []
    with torch.inference_mode():
        for number, batch in enumerate(batches):
            rows = slice(number * size, number * size + len(batch.labels))
            teacher = None if teacher_logits is None else teacher_logits[rows].to(batch.labels.device)
            said = answer(batch.images)
            found = metric_sums(said.logits.float(), batch.labels, teacher)
            total = found if total is None else total + found
            if said.embedding is not None:
                features.append(said.embedding[is_kept[rows].to(said.embedding.device)].float().cpu())
    assert total is not None
    return total, torch.cat(features) if features else None


def _total(parts: Iterable[MetricSums]) -> MetricSums:
    return reduce(add, parts)


def batch_size(image_size: int) -> int:
    """Return a batch whose activations stay small whatever the image size: a power of 2."""
    batch = _LARGEST_BATCH
    while batch > 1 and batch * image_size**2 > _PIXELS:
        batch //= 2
    return batch
