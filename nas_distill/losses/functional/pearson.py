"""DIST: correlations of probabilities instead of divergences.

Shapes: B images, C classes.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softmax

from nas_distill.losses.functional.numerics import logit_loss, nonzero_length, square_sum

_EPSILON = 1e-8
"""Constant added to the product of the lengths, as in the authors' code."""


@logit_loss
def dist(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    beta: float = 2.0,
    gamma: float = 2.0,
    temperature: float = 4.0,
) -> Tensor:
    """Relational distillation from a stronger teacher.

    T^2 (beta mean_i (1 - r(row i)) + gamma mean_j (1 - r(column j))), where r is Pearson's correlation between student
    and teacher in softmax(logits / T). Rows correlate the classes of an image, columns the images of a class (Huang et
    al. 2022, arXiv 2205.10536; the factor T^2 is that of the authors' code).

    A row or column that is constant up to rounding has correlation 0. With a single image, all columns are constant.

    Args:
        student_logits: Student logits [B, C].
        teacher_logits: Teacher logits [B, C]; no gradient flows to them.
        beta: Weight of the correlation over the classes of an image.
        gamma: Weight of the correlation over the images of a class.
        temperature: Temperature T, above 0.

    Returns:
        The loss, a scalar from 0 to 2 T^2 (beta + gamma).

    Raises:
        TeacherError: The shapes differ.
    """
    student = softmax(student_logits / temperature, dim=1)
    teacher = softmax(teacher_logits / temperature, dim=1)
    between_classes = 1 - _correlation(student, teacher, dim=1).mean()
    between_images = 1 - _correlation(student, teacher, dim=0).mean()
    return (beta * between_classes + gamma * between_images) * temperature**2


def _correlation(student: Tensor, teacher: Tensor, *, dim: int) -> Tensor:
    student_rest = student - student.mean(dim, keepdim=True)
    teacher_rest = teacher - teacher.mean(dim, keepdim=True)
    student_length = nonzero_length(student_rest, square_sum(student.detach(), dim=dim), dim=dim)
    teacher_length = nonzero_length(teacher_rest, square_sum(teacher, dim=dim), dim=dim)
    covariance = (student_rest * teacher_rest).sum(dim, keepdim=True)
    return (covariance / (student_length * teacher_length + _EPSILON)).squeeze(dim)
