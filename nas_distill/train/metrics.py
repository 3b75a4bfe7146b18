"""Metrics of a network's logits, as pure functions.

Shapes: N images, C classes; logits [N, C] of any float type, labels int64 [N]. Sums are accumulated in float64 on the
device of the logits, batch by batch. The logits of a whole split are never held at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, nll_loss

ECE_BINS = 15
"""Number of bins of the calibration error."""

_UPPER_QUANTILE = 1.645
"""Quantile 0.95 of the normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitMetrics:
    """Metrics of one network on one split.

    Attributes:
        top1: Accuracy, 0 to 1.
        nll_nats: Mean negative log-likelihood of the labels, nats.
        class_counts: Number of images of each class, length C.
        class_top1: Accuracy on each class, length C; None for a class without images.
        ece: Expected calibration error of the predicted class's probability, 0 to 1, over `ECE_BINS` bins of equal
            width (Guo et al. 2017, arXiv 1706.04599, equation 3).
        ece_noise: See the function `ece_noise`, 0 to 1.
    """

    top1: float
    nll_nats: float
    class_counts: tuple[int, ...]
    class_top1: tuple[float | None, ...]
    ece: float
    ece_noise: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherComparison:
    """Comparison of student and teacher on one split.

    Attributes:
        agreement: Share of images with the same predicted class (Stanton et al. 2021, arXiv 2106.05945, equation 2).
        divergence_nats: Mean KL(teacher || student) at temperature 1, nats.
    """

    agreement: float
    divergence_nats: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MetricSums:
    """Sums over images from which every metric is computed. The sums of batches add up to those of the split.

    Attributes:
        counts: Number of images of each class, int64 [C].
        hits: Number of correctly predicted images of each class, int64 [C].
        nll: Sum of the negative log-likelihoods of the labels, nats, float64 scalar.
        agreeing: Number of images with the teacher's predicted class, int64 scalar; 0 without a teacher.
        divergence: Sum of KL(teacher || network), nats, float64 scalar; 0 without a teacher.
        overconfidence: For each bin of the predicted class's probability, the sum over its images of that probability
            minus 1 if the prediction is correct, float64 [ECE_BINS].
        variance: For each bin, the sum over its images of c (1 - c) with that probability c, float64 [ECE_BINS].
        finite: Whether every logit is finite, bool scalar.
    """

    counts: Tensor
    hits: Tensor
    nll: Tensor
    agreeing: Tensor
    divergence: Tensor
    overconfidence: Tensor
    variance: Tensor
    finite: Tensor

    def __add__(self, other: MetricSums) -> MetricSums:
        return MetricSums(
            counts=self.counts + other.counts,
            hits=self.hits + other.hits,
            nll=self.nll + other.nll,
            agreeing=self.agreeing + other.agreeing,
            divergence=self.divergence + other.divergence,
            overconfidence=self.overconfidence + other.overconfidence,
            variance=self.variance + other.variance,
            finite=self.finite & other.finite,
        )

    def metrics(self) -> SplitMetrics:
        """Return the metrics of the network."""
        counts, hits = self.counts.tolist(), self.hits.tolist()
        images = sum(counts)
        return SplitMetrics(
            top1=sum(hits) / images,
            nll_nats=self.nll.item() / images,
            class_counts=tuple(counts),
            class_top1=tuple(hit / count if count else None for hit, count in zip(hits, counts, strict=True)),
            # Rounding can exceed 1.
            ece=min(self.overconfidence.abs().sum().item() / images, 1.0),
            ece_noise=ece_noise(self.variance.tolist(), images),
        )

    def comparison(self) -> TeacherComparison:
        """Return the comparison with the teacher."""
        images = int(self.counts.sum())
        # Rounding can make the divergence negative.
        return TeacherComparison(
            agreement=self.agreeing.item() / images, divergence_nats=max(self.divergence.item() / images, 0.0)
        )


def metric_sums(logits: Tensor, labels: Tensor, teacher_logits: Tensor | None = None) -> MetricSums:
    """Return the sums over a batch of images.

    Args:
        logits: Logits [N, C].
        labels: Labels, int64 [N], on the same device.
        teacher_logits: The teacher's logits for the same images, [N, C]; None without a teacher to compare with.
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
    # One-hot sums, because bincount synchronises with the device.
    is_class = labels[:, None] == torch.arange(classes, device=labels.device)
    return MetricSums(
        counts=is_class.sum(dim=0),
        hits=(is_class & (predicted == labels)[:, None]).sum(dim=0),
        nll=nll_loss(likelihoods, labels, reduction="sum"),
        agreeing=agreeing,
        divergence=divergence,
        overconfidence=torch.where(in_bin, (confidence - (predicted == labels).double())[:, None], 0.0).sum(dim=0),
        variance=torch.where(in_bin, (confidence * (1.0 - confidence))[:, None], 0.0).sum(dim=0),
        finite=logits.isfinite().all(),
    )


def ece_noise(variances: Sequence[float], images: int) -> float:
    """Return the calibration error that a perfectly calibrated network exceeds with a probability of 5 %.

    Labels are drawn from the predicted probabilities (consistency resampling, Bröcker and Smith 2007, Weather and
    Forecasting 22). Then the number of correct predictions in bin b has a variance of V_b = sum of c (1 - c), and the
    calibration error is sum_b |S_b| / N with about normal S_b of variance V_b. Its mean is sqrt(2 / pi) sum_b
    sqrt(V_b) / N, its variance (1 - 2 / pi) sum_b V_b / N^2. The result is the mean plus 1.645 standard deviations.

    Args:
        variances: V_b of each bin.
        images: Number of images N, at least 1.

    Returns:
        0 to 1.
    """
    mean = math.sqrt(2.0 / math.pi) * sum(map(math.sqrt, variances))
    deviation = math.sqrt((1.0 - 2.0 / math.pi) * sum(variances))
    return min((mean + _UPPER_QUANTILE * deviation) / images, 1.0)


def linear_cka(student: Tensor, teacher: Tensor) -> float | None:
    """Return the linear centred kernel alignment of the features of two networks for the same images, 0 to 1.

    ||Y'X||^2 / (||X'X|| ||Y'Y||) with Frobenius norms and centred columns of X and Y (Kornblith et al. 2019, arXiv
    1905.00414, equation 5). It is invariant to rotation and uniform scaling of X or Y. With about as many features as
    images, it is near 1 for any two networks.

    Args:
        student: Student features [N, D].
        teacher: Teacher features [N, E], on the same device.

    Returns:
        The alignment; None if the features of one network are constant or not finite.
    """
    student_rest, teacher_rest = (features.double() - features.double().mean(dim=0) for features in (student, teacher))
    norms = (student_rest.T @ student_rest).norm() * (teacher_rest.T @ teacher_rest).norm()
    cka = ((teacher_rest.T @ student_rest).square().sum() / norms).item()
    return min(cka, 1.0) if math.isfinite(cka) else None


def gap_points(teacher_top1: float, student_top1: float) -> float:
    """Return the capacity gap, 100 (teacher - student), percentage points. It may be negative.

    Rounded to 9 digits, so that 98 % minus 97 % is exactly 1 point.
    """
    return round(100.0 * (teacher_top1 - student_top1), 9)


def class_gaps(teacher: SplitMetrics, student: SplitMetrics) -> tuple[float | None, ...]:
    """Return the capacity gap on each class, percentage points; None for a class without images."""
    return tuple(
        None if mine is None or theirs is None else gap_points(theirs, mine)
        for theirs, mine in zip(teacher.class_top1, student.class_top1, strict=True)
    )
