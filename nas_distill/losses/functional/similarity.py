"""Similarity-preserving distillation: which images of a batch resemble one another.

Shapes: B images.
"""

from __future__ import annotations

from torch import Tensor

from nas_distill.losses.functional.numerics import divide_by_largest, feature_loss, nonzero_length


@feature_loss
def sp(student: Tensor, teacher: Tensor) -> Tensor:
    """Similarity-preserving distillation.

    ||G(s) - G(t)||^2 / B^2, Frobenius; G(x) = X X^T with rows of Euclidean length 1, X being the flattened features
    (Tung and Mori 2019, arXiv 1907.09682). Widths of student and teacher may differ.

    Args:
        student: [B, ...], the paper's last feature map or an embedding.
        teacher: [B, ...]; no gradient flows to it.

    Returns:
        A scalar of at least 0; 0 for a single image.

    Raises:
        TeacherError: The features are not of the same images.
    """
    return (_similarities(student) - _similarities(teacher)).square().sum() / len(student) ** 2


def _similarities(features: Tensor) -> Tensor:
    flat = divide_by_largest(features.flatten(1), dim=(0, 1))
    similarities = flat @ flat.T
    return similarities / nonzero_length(similarities, dim=1)
