"""MLKD: aligns predictions per image, between the images of a batch, and between classes.

Shapes: B images, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softmax

from nas_distill.losses.functional.hinton import softened_divergence
from nas_distill.losses.functional.numerics import logit_loss

_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5)
"""Factors of the temperature: 2, 3, 4, 5 and 6 for the authors' temperature of 4."""


@logit_loss
def mlkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    images: float = 0.1,
    classes: float = 0.01,
    temperature: float = 2.0,
) -> Tensor:
    """Multi-level logit distillation.

    sum_T (T^2 KL + images between_images + classes between_classes) over T = 0.5, 0.75, 1, 1.25 and 1.5 times the
    temperature (Jin, Wang and Lin 2023, doi:10.1109/CVPR52729.2023.02325). Two parts of the authors' code are left
    out: a second, strongly augmented copy of each image, and the scaling of the terms of the weakly augmented copy by
    the share of images (or classes) below the median confidence, about one half. The authors use weights of 1 for both
    kinds of matrices, at a temperature of 4 with 100 classes. `between_classes` grows with fewer classes and with more
    images: with 10 classes, 64 images and a weight of 1 it outweighs the labels.

    Args:
        student_logits: Student logits [B, C].
        teacher_logits: Teacher logits [B, C]; no gradient flows to them.
        images: Weight of `between_images`, at least 0.
        classes: Weight of `between_classes`, at least 0.
        temperature: Temperature T, above 0.

    Returns:
        The loss, a scalar of at least 0 (up to rounding).

    Raises:
        TeacherError: The shapes differ.
    """
    total = torch.zeros((), dtype=student_logits.dtype, device=student_logits.device)
    for scale in _SCALES:
        softness = scale * temperature
        total = total + softened_divergence(student_logits, teacher_logits, softness)
        student, teacher = softmax(student_logits / softness, dim=1), softmax(teacher_logits / softness, dim=1)
        total = total + images * between_images(student, teacher) + classes * between_classes(student, teacher)
    return total


def between_images(student: Tensor, teacher: Tensor) -> Tensor:
    """Return ||P P^T - Q Q^T||^2 / B (Frobenius) for probabilities.

    Args:
        student: Student probabilities Q, [B, C].
        teacher: Teacher probabilities P, [B, C].
    """
    return _gram_distance(student.T, teacher.T) / len(student)


def between_classes(student: Tensor, teacher: Tensor) -> Tensor:
    """Return ||P^T P - Q^T Q||^2 / C (Frobenius) for probabilities.

    Args:
        student: Student probabilities Q, [B, C].
        teacher: Teacher probabilities P, [B, C].
    """
    return _gram_distance(student, teacher) / student.shape[1]


def _gram_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return ||P^T P - Q^T Q||^2 for P, Q [n, m] with min(n, m)^2 numbers of memory: the classes may be many."""
    if student.shape[1] <= len(student):
        return (teacher.T @ teacher - student.T @ student).square().sum()
    # With D = P - Q and V = P + Q the difference is (D^T V + V^T D) / 2, and its square a sum over n x n matrices.
    difference, total = teacher - student, teacher + student
    crossed = total @ difference.T
    return ((difference @ difference.T) * (total @ total.T) + crossed * crossed.T).sum() / 2
