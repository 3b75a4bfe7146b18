"""What is measured of a network's answers (DESIGN section 3), as pure functions.

Shapes: N images, C classes; logits [N, C] of any float type, labels int64 [N]. Sums are made in float64, on the
device where the answers are, batch by batch: no split's answers are ever held whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, nll_loss

ECE_BINS = 15
"""Of the calibration error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitMetrics:
    """How one network answers one split.

    Attributes:
        top1: Accuracy, 0 to 1.
        nll_nats: Mean negative log-likelihood of the labels.
        class_counts: Images per class, length C.
        class_top1: Accuracy per class, length C; None for a class without images.
        ece: Expected calibration error of the predicted class's probability, 0 to 1, over `ECE_BINS` bins of equal
            width (Guo et al. 2017, arXiv 1706.04599, equation 3).
    """

    top1: float
    nll_nats: float
    class_counts: tuple[int, ...]
    class_top1: tuple[float | None, ...]
    ece: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherComparison:
    """How two networks' answers to one split compare.

    Attributes:
        agreement: Share of images with the same argmax (Stanton et al. 2021, arXiv 2106.05945, equation 2).
        divergence_nats: Mean KL(teacher || student) at temperature 1.
    """

    agreement: float
    divergence_nats: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MetricSums:
    """Sums over images from which every metric follows; the tallies of a split's batches add up to the split's.

    Attributes:
        counts: int64 [C], images per class.
        hits: int64 [C], those answered with their label.
        nll: float64 scalar, sum of the labels' negative log-likelihood, nats.
        agreeing: int64 scalar, images with the teacher's argmax; 0 when no teacher was compared with.
        divergence: float64 scalar, sum of KL(teacher || network), nats; 0 likewise.
        overconfidence: float64 [ECE_BINS], probability of the predicted class minus 1 where it is the label, summed
            over the images whose probability lies in the bin.
        finite: bool scalar, whether every logit is a number.
    """

    counts: Tensor
    hits: Tensor
    nll: Tensor
    agreeing: Tensor
    divergence: Tensor
    overconfidence: Tensor
    finite: Tensor

    def __add__(self, other: MetricSums) -> MetricSums:
        return MetricSums(
            counts=self.counts + other.counts,
            hits=self.hits + other.hits,
            nll=self.nll + other.nll,
            agreeing=self.agreeing + other.agreeing,
            divergence=self.divergence + other.divergence,
            overconfidence=self.overconfidence + other.overconfidence,
            finite=self.finite & other.finite,
        )

    def metrics(self) -> SplitMetrics:
        """Return the network's own worth."""
        counts, hits = self.counts.tolist(), self.hits.tolist()
        images = sum(counts)
        return SplitMetrics(
            top1=sum(hits) / images,
            nll_nats=self.nll.item() / images,
            class_counts=tuple(counts),
            class_top1=tuple(hit / count if count else None for hit, count in zip(hits, counts, strict=True)),
            # Rounding can take it above 1.
            ece=min(self.overconfidence.abs().sum().item() / images, 1.0),
        )

    def comparison(self) -> TeacherComparison:
        """Return agreement with the teacher and divergence from it."""
        images = int(self.counts.sum())
        # Rounding can take the divergence below 0.
        return TeacherComparison(
            agreement=self.agreeing.item() / images, divergence_nats=max(self.divergence.item() / images, 0.0)
        )


def metric_sums(logits: Tensor, labels: Tensor, teacher_logits: Tensor | None = None) -> MetricSums:
    """Return the sums over a batch of images.

    Args:
        logits: [N, C].
        labels: int64 [N], on the same device.
        teacher_logits: [N, C], the teacher's for the same images; None when there is no teacher to compare with.
    """
    likelihoods = log_softmax(logits.double(), dim=1)
    predicted = logits.argmax(dim=1)
    classes = logits.shape[1]
    confidence = likelihoods.amax(dim=1).exp()
    bins = (confidence * ECE_BINS).long().clamp(0, ECE_BINS - 1)
    in_bin = bins[:, None] == torch.arange(ECE_BINS, device=labels.device)
    agreeing, divergence = labels.new_zeros(()), likelihoods.new_zeros(())
    if teacher_logits is not None:
        teacher = log_softmax(teacher_logits.double(), dim=1)
        agreeing = (predicted == teacher_logits.argmax(dim=1)).sum()
        divergence = (teacher.exp() * (teacher - likelihoods)).sum()
    # One-hot sums, because bincount waits for the device.
    is_class = labels[:, None] == torch.arange(classes, device=labels.device)
    return MetricSums(
        counts=is_class.sum(dim=0),
        hits=(is_class & (predicted == labels)[:, None]).sum(dim=0),
        nll=nll_loss(likelihoods, labels, reduction="sum"),
        agreeing=agreeing,
        divergence=divergence,
        overconfidence=torch.where(in_bin, (confidence - (predicted == labels).double())[:, None], 0.0).sum(dim=0),
        finite=logits.isfinite().all(),
    )


def linear_cka(student: Tensor, teacher: Tensor) -> float | None:
    """Return the linear centred kernel alignment of two networks' features of the same images, 0 to 1.

    ||Y'X||^2 / (||X'X|| ||Y'Y||), Frobenius norms, columns of X and Y centred (Kornblith et al. 2019, arXiv 1905.00414,
    equation 5). It does not change with rotations and uniform scaling of either side. With about as many features as
    images it is near 1 whatever the networks.

    Args:
        student: [N, D].
        teacher: [N, E], on the same device.

    Returns:
        None where a side is constant or holds NaN or infinity.
    """
    mine, theirs = (features.double() - features.double().mean(dim=0) for features in (student, teacher))
    own = (mine.T @ mine).norm() * (theirs.T @ theirs).norm()
    cka = ((theirs.T @ mine).square().sum() / own).item()
    return min(cka, 1.0) if math.isfinite(cka) else None


def gap_points(teacher_top1: float, student_top1: float) -> float:
    """Return the capacity gap, 100 (teacher - student), percentage points; never clamped.

    Without the last digits, which are noise of floating point: 98 % less 97 % is 1 point, which is within 1 point.
    """
    return round(100.0 * (teacher_top1 - student_top1), 9)


def class_gaps(teacher: SplitMetrics, student: SplitMetrics) -> tuple[float | None, ...]:
    """Return the gap of each class, percentage points; None for a class without images."""
    return tuple(
        None if mine is None or theirs is None else gap_points(theirs, mine)
        for theirs, mine in zip(teacher.class_top1, student.class_top1, strict=True)
    )
