"""Relational distillation: compares distances between images and angles in triplets of images.

Shapes: B images, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from nas_distill.losses.functional.numerics import ROUNDINGS, divide_by_largest, feature_loss, square_sum

_LEAST_SQUARE = 1e-12
"""Lower bound of squared distances, as in the authors' code. It keeps the derivative of the root finite."""


@feature_loss
def rkd(student: Tensor, teacher: Tensor, *, distance: float = 25.0, angle: float = 50.0) -> Tensor:
    """Relational knowledge distillation.

    distance mean_ij h(d_ij(s), d_ij(t)) + angle mean_ijk h(a_ijk(s), a_ijk(t)). h is the Huber loss with threshold 1,
    d_ij the Euclidean distance divided by its mean over pairs, and a_ijk the cosine of the angle at image i between
    images j and k (Park et al. 2019, arXiv 1904.05068). Memory grows with B^3.

    Images with the same embedding have no direction between them; their cosines are 0.

    Args:
        student: Student features [B, ...], flattened to embeddings.
        teacher: Teacher features [B, ...], flattened; no gradient flows to them. The widths may differ.
        distance: Weight of the loss of the distances, at least 0.
        angle: Weight of the loss of the angles, at least 0.

    Returns:
        The loss, a scalar of at least 0; 0 for a single image.

    Raises:
        TeacherError: Student and teacher have different numbers of images.
    """
    of_student, of_teacher = (_relations(embeddings.flatten(1)) for embeddings in (student, teacher))
    distances, angles = (smooth_l1_loss(ours, theirs) for ours, theirs in zip(of_student, of_teacher, strict=True))
    return distance * distances + angle * angles


def _relations(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Return all distances divided by their mean, [B, B], and all cosines at i between j and k, [B, B, B].

    They are computed from inner products of centred embeddings: the differences of all pairs would take B^2 D numbers
    and most of the time.
    """
    rounding = ROUNDINGS * torch.finfo(embeddings.dtype).eps
    rest = embeddings - embeddings.mean(dim=0)
    is_rounding = square_sum(rest, dim=1) <= rounding**2 * square_sum(embeddings, dim=1)
    centred = divide_by_largest(torch.where(is_rounding, 0.0, rest), dim=(0, 1))
    products = centred @ centred.T
    own = products.diagonal()
    sums = own[None] + own[:, None]
    squares = sums - 2 * products
    # Pairs closer than the rounding error of the inner products have no direction, nor has an image to itself.
    close = squares <= rounding * sums.detach()
    close = close | torch.eye(len(squares), dtype=torch.bool, device=squares.device)
    scales = torch.where(close, 0.0, torch.where(close, 1.0, squares).rsqrt())
    around = products[None] - products[:, :, None] - products[:, None, :] + own[:, None, None]
    return _over_mean(squares), around * scales[:, :, None] * scales[:, None, :]


def _over_mean(squares: Tensor) -> Tensor:
    """Return the roots of squared distances, [B, B], divided by their mean over pairs of different images."""
    count = len(squares)
    apart = 1 - torch.eye(count, dtype=squares.dtype, device=squares.device)
    distances = squares.clamp_min(_LEAST_SQUARE).sqrt() * apart
    mean = distances.sum() / max(count * (count - 1), 1)
    return distances / torch.where(mean > 0.0, mean, 1.0)
