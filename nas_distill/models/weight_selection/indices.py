"""Channels that a student takes over along each axis of a tensor."""

from __future__ import annotations

import torch
from torch import Tensor

from nas_distill.models.weight_selection.layout import Factors


def uniform_indices(student: Factors, teacher: Factors) -> Tensor:
    """Return evenly spread channels: index floor(j T / S) for channel j of S out of T, within each factor.

    The indices depend only on the two sizes, so that all axes which hold the same channels agree, and blocks of equal
    size (the inputs of a concatenation, a gate next to its values) are treated alike.

    Args:
        student: Factors of the student's axis, outermost first.
        teacher: Factors of the teacher's axis, as many, none smaller than the student's.

    Returns:
        Indices into the teacher's axis, int64 [product of `student`], ascending.
    """
    indices = torch.zeros(1, dtype=torch.int64)
    for size, length in zip(student, teacher, strict=True):
        chosen = torch.arange(size) * length // size
        indices = (indices[:, None] * length + chosen).flatten()
    return indices
