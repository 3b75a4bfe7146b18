"""PKT: compares the similarities between the images of a batch as probabilities.

Shapes: B images, D features.
"""

from __future__ import annotations

from torch import Tensor

from nas_distill.losses.functional.numerics import feature_loss, safe_norm

_EPSILON = 1e-7
"""Constant added to lengths and to probabilities, as in the authors' code."""


@feature_loss
def pkt(student: Tensor, teacher: Tensor) -> Tensor:
    """Probabilistic knowledge transfer, in nats.

    mean_ij p_ij log(p_ij / q_ij). p and q are (cosine + 1) / 2 between the embeddings of images i and j of teacher and
    student, with each row divided by its sum (Passalis and Tefas 2018, arXiv 1803.10837, with the cosine kernel).
    The authors' code takes the mean over B^2, the paper a sum. With the mean, weights are large: about 30000.

    Args:
        student: Student features [B, ...], flattened to embeddings.
        teacher: Teacher features [B, ...], flattened; no gradient flows to them. The widths may differ.

    Returns:
        The loss, a scalar of at least 0 (up to rounding); 0 for a single image.

    Raises:
        TeacherError: Student and teacher have different numbers of images.
    """
    student_share, teacher_share = _neighbours(student.flatten(1)), _neighbours(teacher.flatten(1))
    ratio = (teacher_share + _EPSILON) / (student_share + _EPSILON)
    return (teacher_share * ratio.log()).mean()


def _neighbours(embeddings: Tensor) -> Tensor:
    """Return the similarities of each image to all others as shares of their sum, [B, B]; each row sums to 1."""
    directions = embeddings / (safe_norm(embeddings, dim=1)[:, None] + _EPSILON)
    closeness = (directions @ directions.T + 1) / 2
    return closeness / closeness.sum(dim=1, keepdim=True)
