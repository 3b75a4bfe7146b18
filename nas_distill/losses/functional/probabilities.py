"""PKT: which images of a batch are neighbours, as probabilities.

Shapes: B images, D features.
"""

from __future__ import annotations

from torch import Tensor

from nas_distill.losses.functional.numerics import feature_loss, safe_norm

_EPSILON = 1e-7
"""Added to lengths and to probabilities, as the authors' code does."""


@feature_loss
def pkt(student: Tensor, teacher: Tensor) -> Tensor:
    """Probabilistic knowledge transfer, nats.

    mean_ij p_ij log(p_ij / q_ij): p and q are the teacher's and the student's (cosine + 1) / 2 of images i and j,
    each row divided by its sum (Passalis and Tefas 2018, arXiv 1803.10837, with the cosine kernel).
    The mean over B^2 is that of the authors' code, the paper has a sum: weights are large, about 30000.

    Args:
        student: [B, ...], flattened to embeddings.
        teacher: [B, ...]; no gradient flows to it. Widths may differ.

    Returns:
        A scalar of at least 0 (up to rounding); 0 for a single image.

    Raises:
        TeacherError: The embeddings are not of the same images.
    """
    student_share, teacher_share = _neighbours(student.flatten(1)), _neighbours(teacher.flatten(1))
    ratio = (teacher_share + _EPSILON) / (student_share + _EPSILON)
    return (teacher_share * ratio.log()).mean()


def _neighbours(embeddings: Tensor) -> Tensor:
    """Returns each image's share of its row, [B, B]; rows add up to 1."""
    directions = embeddings / (safe_norm(embeddings, dim=1)[:, None] + _EPSILON)
    closeness = (directions @ directions.T + 1) / 2
    return closeness / closeness.sum(dim=1, keepdim=True)
