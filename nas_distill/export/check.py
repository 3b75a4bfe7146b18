"""Compare an exported file with PyTorch on the validation images.

Exported files can be wrong in silence: with accuracy 0 (pytorch/pytorch issue 169178), or for one batch size only
(issue 148886). So each file is read again and measured one image at a time and in batches of another size than the one
that the exporter saw.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nas_distill.data.splits import ImageSplit
from nas_distill.inference.classifier import Classifier
from nas_distill.records.export import Scores
from nas_distill.train.evaluation import batch_size
from nas_distill.train.metrics import metric_sums

EXAMPLE_BATCH = 2
"""Images in the example that an exporter sees. With one image, torch makes a program for one image only."""

MAX_ONE_BY_ONE = 1000
"""Largest number of validation images that are also measured one at a time."""

RELATIVE_TOLERANCE = 1e-3
"""Largest accepted difference of a logit, as a share of the largest logit."""

_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How an exported file differs from PyTorch.

    Attributes:
        scores: Metrics on all validation images, in batches.
        top1_one_by_one: Accuracy on some of them, one image at a time, 0 to 1.
        images_one_by_one: Number of these images.
        largest_difference: Largest absolute difference of a logit in both passes; infinity if a logit is not finite.
        changed_predictions: Number of images with another predicted class.
    """

    scores: Scores
    top1_one_by_one: float
    images_one_by_one: int
    largest_difference: float
    changed_predictions: int


class Checker:
    """Measures exported files against a student's own logits.

    Args:
        student: Student in PyTorch.
        split: Validation images.

    Attributes:
        batch_size: Images per batch.
        scores: Metrics of the student in PyTorch.
        tolerance: Largest accepted difference of a logit.
    """

    def __init__(self, student: Classifier, split: ImageSplit) -> None:
        self._split = split
        self.batch_size = max(EXAMPLE_BATCH + 1, min(batch_size(split.manifest.image_size), split.num_images))
        self._logits = self._measure(student, torch.arange(split.num_images), self.batch_size)
        self.scores = scores_of(self._logits, split.labels)
        self.tolerance = RELATIVE_TOLERANCE * max(1.0, float(self._logits.abs().max()))

    def compare(self, exported: Classifier) -> Comparison:
        """Return how an exported file differs from the student.

        Raises:
            Exception: Whatever the runtime of the file raises, such as for a frozen batch size.
        """
        images = self._split.num_images
        few = torch.linspace(0, images - 1, min(images, MAX_ONE_BY_ONE)).round().long()
        whole = self._measure(exported, torch.arange(images), self.batch_size)
        single = self._measure(exported, few, 1)
        differences = torch.stack([(whole - self._logits).abs().max(), (single - self._logits[few]).abs().max()])
        largest = float(differences.max()) if bool(differences.isfinite().all()) else float("inf")
        return Comparison(
            scores=scores_of(whole.nan_to_num(), self._split.labels),
            top1_one_by_one=scores_of(single.nan_to_num(), self._split.labels[few]).top1,
            images_one_by_one=len(few),
            largest_difference=largest,
            changed_predictions=int((whole.argmax(dim=1) != self._logits.argmax(dim=1)).sum()),
        )

    def accepts(self, comparison: Comparison) -> bool:
        """Return whether a file computes what the student computes."""
        return comparison.largest_difference <= self.tolerance

    def _measure(self, classifier: Classifier, positions: Tensor, size: int) -> Tensor:
        batches = self._split.batches(positions, size, device=_CPU)
        return torch.cat([classifier.logits(batch.images) for batch in batches])


def scores_of(logits: Tensor, labels: Tensor) -> Scores:
    """Return the metrics of logits [N, K] for labels int64 [N]."""
    found = metric_sums(logits, labels).metrics()
    return Scores(images=len(labels), top1=found.top1, nll_nats=found.nll_nats, ece=found.ece)


def sample_inputs(classifier: Classifier, split: ImageSplit, count: int) -> Iterator[Tensor]:
    """Yield network inputs, float32 [1, C, H, W], of evenly spaced images of a split.

    Args:
        classifier: Student whose input format and normalisation to use.
        split: Images.
        count: Largest number of images.
    """
    positions = torch.linspace(0, split.num_images - 1, min(split.num_images, count)).round().long()
    for batch in split.batches(positions, 1, device=_CPU):
        yield classifier.inputs(batch.images)
