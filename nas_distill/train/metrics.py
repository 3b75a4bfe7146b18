"""What is measured of a network's answers (DESIGN section 3), as pure functions.

Shapes: N images, C classes; logits [N, C] of any float type, labels int64 [N]. Everything is computed in float64.
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


def score(logits: Tensor, labels: Tensor) -> Answers:
    """Returns accuracy and likelihood of `logits` [N, C] under `labels` [N], overall and per class."""
    classes = logits.shape[1]
    correct = logits.argmax(dim=1) == labels
    counts = torch.bincount(labels, minlength=classes)
    hits = torch.bincount(labels[correct], minlength=classes)
    return Answers(
        top1=correct.double().mean().item(),
        nll_nats=nll_loss(log_softmax(logits.double(), dim=1), labels).item(),
        class_counts=tuple(counts.tolist()),
        class_top1=tuple(
            hit / count if count else None for hit, count in zip(hits.tolist(), counts.tolist(), strict=True)
        ),
    )


def compare(student_logits: Tensor, teacher_logits: Tensor) -> Comparison:
    """Returns agreement and divergence of two networks' logits [N, C] for the same images."""
    student = log_softmax(student_logits.double(), dim=1)
    teacher = log_softmax(teacher_logits.double(), dim=1)
    divergence = (teacher.exp() * (teacher - student)).sum(dim=1).mean()
    return Comparison(
        agreement=(student_logits.argmax(dim=1) == teacher_logits.argmax(dim=1)).double().mean().item(),
        divergence_nats=divergence.clamp(min=0.0).item(),  # rounding can take it below 0
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
