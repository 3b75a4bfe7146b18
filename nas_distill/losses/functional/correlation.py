"""Correlation congruence: the kernel matrix of a batch.

Shapes: B images, D features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nas_distill.losses.functional.numerics import feature_loss, nonzero_length


@feature_loss
def cc(student: Tensor, teacher: Tensor, *, gamma: float = 0.4, order: float = 2.0) -> Tensor:
    """Correlation congruence.

    ||K(s) - K(t)||^2 / B^2, Frobenius; K is the Taylor series of the Gaussian kernel of embeddings of length 1, see
    `kernel_matrix` (Peng et al. 2019, arXiv 1904.01802).

    Args:
        student: [B, ...], flattened to embeddings.
        teacher: [B, ...]; no gradient flows to it. Widths may differ.
        gamma: Of the kernel exp(-gamma ||x - y||^2).
        order: Last term of the series, a whole number.

    Returns:
        A scalar of at least 0.

    Raises:
        TeacherError: The embeddings are not of the same images.
    """
    of_student, of_teacher = (
        kernel_matrix(embeddings / nonzero_length(embeddings, dim=1), gamma=gamma, order=int(order))
        for embeddings in (student.flatten(1), teacher.flatten(1))
    )
    return (of_student - of_teacher).square().mean()


def kernel_matrix(embeddings: Tensor, *, gamma: float, order: int) -> Tensor:
    """Returns exp(-2 gamma) sum_{p <= order} (2 gamma)^p / p! (x_i . x_j)^p, [B, B].

    The series of exp(-gamma ||x - y||^2) when all embeddings have the length 1.

    Args:
        embeddings: [B, D].
        gamma: Of the kernel.
        order: Last term.
    """
    products = embeddings @ embeddings.T
    # By Horner's rule: 1 + a x (1 + a x / 2 (1 + ...)).
    series = torch.ones_like(products)
    for power in range(order, 0, -1):
        series = 1 + 2 * gamma / power * products * series
    return math.exp(-2 * gamma) * series
