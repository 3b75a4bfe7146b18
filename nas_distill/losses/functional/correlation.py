"""Correlation congruence: compares the kernel matrices of a batch.

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

    ||K(s) - K(t)||^2 / B^2 with Frobenius norms. K is the Taylor series of the Gaussian kernel of embeddings scaled
    to length 1, see `kernel_matrix` (Peng et al. 2019, arXiv 1904.01802).

    Args:
        student: Student features [B, ...], flattened to embeddings.
        teacher: Teacher features [B, ...], flattened; no gradient flows to them. The widths may differ.
        gamma: Factor gamma of the kernel exp(-gamma ||x - y||^2).
        order: Order of the last term of the series, a whole number of at least 1.

    Returns:
        The loss, a scalar of at least 0.

    Raises:
        TeacherError: Student and teacher have different numbers of images.
    """
    of_student, of_teacher = (
        kernel_matrix(embeddings / nonzero_length(embeddings, dim=1), gamma=gamma, order=int(order))
        for embeddings in (student.flatten(1), teacher.flatten(1))
    )
    return (of_student - of_teacher).square().mean()


def kernel_matrix(embeddings: Tensor, *, gamma: float, order: int) -> Tensor:
    """Return exp(-2 gamma) sum_{p <= order} (2 gamma)^p / p! (x_i . x_j)^p, [B, B].

    This is the series of exp(-gamma ||x - y||^2) for embeddings of length 1.

    Args:
        embeddings: Embeddings [B, D].
        gamma: Factor gamma of the kernel.
        order: Order of the last term.
    """
    products = embeddings @ embeddings.T
    # Horner's rule: 1 + a x (1 + a x / 2 (1 + ...)).
    series = torch.ones_like(products)
    for power in range(order, 0, -1):
        series = 1 + 2 * gamma / power * products * series
    return math.exp(-2 * gamma) * series
