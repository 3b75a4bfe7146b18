"""What is measured of a network's answers (DESIGN section 3), as pure functions.

Shapes: N images, C classes; logits [N, C] of any float type, labels int64 [N]. Sums are made in float64, on the
device where the answers are, batch by batch: no split's answers are ever held whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, nll_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """How one network answers one split.

    Attributes:
        top1: Accuracy, 0 to 1.
        nll_nats: Mean negative log-likelihood of the labels.
        class_counts: Images per class, length C.
        class_top1: Accuracy per class, length C; None for a class without images.
    """

    top1: float
    nll_nats: float
    class_counts: tuple[int, ...]
    class_top1: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How two networks' answers to one split compare.

    Attributes:
        agreement: Share of images with the same argmax (Stanton et al. 2021, arXiv 2106.05945, equation 2).
        divergence_nats: Mean KL(teacher || student) at temperature 1.
    """

    agreement: float
    divergence_nats: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tally:
    """Sums over images from which every metric follows; the tallies of a split's batches add up to the split's.

    Attributes:
        counts: int64 [C], images per class.
        hits: int64 [C], those answered with their label.
        nll: float64 scalar, sum of the labels' negative log-likelihood, nats.
        agreeing: int64 scalar, images with the teacher's argmax; 0 when no teacher was compared with.
        divergence: float64 scalar, sum of KL(teacher || network), nats; 0 likewise.
        finite: bool scalar, whether every logit is a number.
    """

    counts: Tensor
    hits: Tensor
    nll: Tensor
    agreeing: Tensor
    divergence: Tensor
    finite: Tensor

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            counts=self.counts + other.counts,
            hits=self.hits + other.hits,
            nll=self.nll + other.nll,
            agreeing=self.agreeing + other.agreeing,
            divergence=self.divergence + other.divergence,
            finite=self.finite & other.finite,
        )

    def answers(self) -> Answers:
        """Returns the network's own worth."""
        counts, hits = self.counts.tolist(), self.hits.tolist()
        images = sum(counts)
        return Answers(
            top1=sum(hits) / images,
            nll_nats=self.nll.item() / images,
            class_counts=tuple(counts),
            class_top1=tuple(hit / count if count else None for hit, count in zip(hits, counts, strict=True)),
        )

    def comparison(self) -> Comparison:
        """Returns agreement with the teacher and divergence from it."""
        images = int(self.counts.sum())
        # Rounding can take the divergence below 0.
        return Comparison(
            agreement=self.agreeing.item() / images, divergence_nats=max(self.divergence.item() / images, 0.0)
        )


def tally(logits: Tensor, labels: Tensor, teacher_logits: Tensor | None = None) -> Tally:
    """Returns the sums over a batch of images.

    Args:
        logits: [N, C].
        labels: int64 [N], on the same device.
        teacher_logits: [N, C], the teacher's for the same images; None when there is no teacher to compare with.
    """
    likelihoods = log_softmax(logits.double(), dim=1)
    predicted = logits.argmax(dim=1)
    classes = logits.shape[1]
    agreeing, divergence = labels.new_zeros(()), likelihoods.new_zeros(())
    if teacher_logits is not None:
        teacher = log_softmax(teacher_logits.double(), dim=1)
        agreeing = (predicted == teacher_logits.argmax(dim=1)).sum()
        divergence = (teacher.exp() * (teacher - likelihoods)).sum()
    # One-hot sums, because bincount waits for the device.
    is_class = labels[:, None] == torch.arange(classes, device=labels.device)
    return Tally(
        counts=is_class.sum(dim=0),
        hits=(is_class & (predicted == labels)[:, None]).sum(dim=0),
        nll=nll_loss(likelihoods, labels, reduction="sum"),
        agreeing=agreeing,
        divergence=divergence,
        finite=logits.isfinite().all(),
    )


def gap_points(teacher_top1: float, student_top1: float) -> float:
    """Returns the capacity gap, 100 (teacher - student), percentage points; never clamped."""
    return 100.0 * (teacher_top1 - student_top1)


def class_gaps(teacher: Answers, student: Answers) -> tuple[float | None, ...]:
    """Returns the gap of each class, percentage points; None for a class without images."""
    return tuple(
        None if mine is None or theirs is None else gap_points(theirs, mine)
        for theirs, mine in zip(teacher.class_top1, student.class_top1, strict=True)
    )
