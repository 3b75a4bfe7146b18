"""MLKD: answers aligned image by image, between the images of a batch, and between classes.

Shapes: B images, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softmax

from nas_distill.losses.functional.hinton import softened_divergence
from nas_distill.losses.functional.numerics import logit_loss

_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5)
"""Of the temperature: 2, 3, 4, 5, 6 at the authors' 4."""


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
    temperature (Jin, Wang and Lin 2023, doi:10.1109/CVPR52729.2023.02325). The authors' code also
    trains on a second, strongly augmented copy of each image, and scales the terms of the weak copy by the share of
    images (or classes) below the median confidence, about a half; both are left out here. Their weights of both kinds
    of matrices are 1, at a temperature of 4, for 100 classes: `between_classes` pulls harder the fewer classes and the
    more images there are, and with 10 classes and 64 images it drowns the labels.

    Args:
        student_logits: [B, C].
        teacher_logits: [B, C]; no gradient flows to them.
        images: Weight of `between_images`.
        classes: Weight of `between_classes`.
        temperature: Above 0.

    Returns:
        A scalar of at least 0 (up to rounding).

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
    """Returns ||P P^T - Q Q^T||^2 / B, Frobenius, of probabilities.

    Args:
        student: Q, [B, C].
        teacher: P, [B, C].
    """
    return _gram_distance(student.T, teacher.T) / len(student)


def between_classes(student: Tensor, teacher: Tensor) -> Tensor:
    """Returns ||P^T P - Q^T Q||^2 / C, Frobenius, of probabilities.

    Args:
        student: Q, [B, C].
        teacher: P, [B, C].
    """
    return _gram_distance(student, teacher) / student.shape[1]


def _gram_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Returns ||P^T P - Q^T Q||^2 of P, Q [n, m], in min(n, m)^2 numbers: C is large where there are many classes."""
    if student.shape[1] <= len(student):
        return (teacher.T @ teacher - student.T @ student).square().sum()
    # With D = P - Q and V = P + Q the difference is (D^T V + V^T D) / 2, and its square a sum over n x n matrices.
    difference, total = teacher - student, teacher + student
    crossed = total @ difference.T
    return ((difference @ difference.T) * (total @ total.T) + crossed * crossed.T).sum() / 2
