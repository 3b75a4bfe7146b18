"""Similarity-preserving distillation: compares the similarities between the images of a batch.

Shapes: B images.
"""

from __future__ import annotations

from torch import Tensor

from nas_distill.losses.functional.numerics import divide_by_largest, feature_loss, nonzero_length


@feature_loss
def sp(student: Tensor, teacher: Tensor) -> Tensor:
    """Similarity-preserving distillation.

    ||G(s) - G(t)||^2 / B^2 with Frobenius norms. G(x) = X X^T with rows scaled to length 1, where X are the flattened
    features (Tung and Mori 2019, arXiv 1907.09682). The widths of student and teacher may differ.

    Args:
        student: Student features [B, ...]: the last feature map, as in the paper, or an embedding.
        teacher: Teacher features [B, ...]; no gradient flows to them.

    Returns:
        The loss, a scalar of at least 0; 0 for a single image.

    Raises:
        TeacherError: Student and teacher have different numbers of images.
    """
    return (_similarities(student) - _similarities(teacher)).square().sum() / len(student) ** 2


def _similarities(features: Tensor) -> Tensor:
    flat = divide_by_largest(features.flatten(1), dim=(0, 1))
    similarities = flat @ flat.T
    return similarities / nonzero_length(similarities, dim=1)
