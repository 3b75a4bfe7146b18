"""Express the channels that a student lacks by those that it keeps, by least squares on the teacher's activations.

Pruning uses the same correction (He, Zhang and Sun 2017, arXiv 1707.06168, section 3.1).
"""

from __future__ import annotations

import torch
from torch import Tensor

_RIDGE = 1e-3
"""Ridge penalty, as a share of the mean second moment of the kept channels."""


def reconstruction(moment: Tensor, kept: Tensor) -> Tensor:
    """Return the matrix that maps kept channels to all channels with the least squared error.

    Args:
        moment: Second moments of the channels, float [T, T].
        kept: Indices of the kept channels, int64 [S].

    Returns:
        Matrix A, float [T, S], with x = A x[kept] approximately. A layer with weights W [O, T] becomes W A.
    """
    kept = kept.to(moment.device)
    inner = moment.index_select(0, kept).index_select(1, kept).double()
    ridge = _RIDGE * inner.diagonal().mean().clamp_min(torch.finfo(torch.float32).tiny)
    inner.diagonal().add_(ridge)
    solved: Tensor = torch.linalg.solve(inner, moment.index_select(0, kept).double())
    return solved.T.to(moment.dtype)
