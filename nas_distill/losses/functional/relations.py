"""Relational distillation: distances between images, and angles of triplets of images.

Shapes: B images, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from nas_distill.losses.functional.numerics import ROUNDINGS, divide_by_largest, feature_loss, square_sum

_LEAST_SQUARE = 1e-12
"""The least squared distance, as in the authors' code: the root's derivative stays finite."""


@feature_loss
def rkd(student: Tensor, teacher: Tensor, *, distance: float = 25.0, angle: float = 50.0) -> Tensor:
    """Relational knowledge distillation.

    distance mean_ij h(d_ij(s), d_ij(t)) + angle mean_ijk h(a_ijk(s), a_ijk(t)), with Huber's h of threshold 1, d the
    Euclidean distances divided by their mean over pairs, and a_ijk the cosine of the angle at image i between images
    j and k (Park et al. 2019, arXiv 1904.05068). Memory grows with B^3.

    Images with the same embedding have no direction between them: the cosine is 0.

    Args:
        student: [B, ...], flattened to embeddings.
        teacher: [B, ...]; no gradient flows to it. Widths may differ.
        distance: Weight of the distances.
        angle: Weight of the angles.

    Returns:
        A scalar of at least 0; 0 for a single image.

    Raises:
        TeacherError: The embeddings are not of the same images.
    """
    of_student, of_teacher = (_relations(embeddings.flatten(1)) for embeddings in (student, teacher))
    distances, angles = (smooth_l1_loss(ours, theirs) for ours, theirs in zip(of_student, of_teacher, strict=True))
    return distance * distances + angle * angles


def _relations(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Returns all distances over their mean, [B, B], and all cosines at i between j and k, [B, B, B].

    From inner products of centred embeddings: differences of all pairs would take B^2 D numbers, most of the time.
    """
    rounding = ROUNDINGS * torch.finfo(embeddings.dtype).eps
    rest = embeddings - embeddings.mean(dim=0)
    is_rounding = square_sum(rest, dim=1) <= rounding**2 * square_sum(embeddings, dim=1)
    centred = divide_by_largest(torch.where(is_rounding, 0.0, rest), dim=(0, 1))
    products = centred @ centred.T
    own = products.diagonal()
    sums = own[None] + own[:, None]
    squares = sums - 2 * products
    # Rounding of the inner products: what is closer has no direction. Nor has an image to itself.
    close = squares <= rounding * sums.detach()
    close = close | torch.eye(len(squares), dtype=torch.bool, device=squares.device)
    scales = torch.where(close, 0.0, torch.where(close, 1.0, squares).rsqrt())
    around = products[None] - products[:, :, None] - products[:, None, :] + own[:, None, None]
    return _over_mean(squares), around * scales[:, :, None] * scales[:, None, :]


def _over_mean(squares: Tensor) -> Tensor:
    """Returns the roots of squared distances, [B, B], divided by their mean over pairs of different images."""
    count = len(squares)
    apart = 1 - torch.eye(count, dtype=squares.dtype, device=squares.device)
    distances = squares.clamp_min(_LEAST_SQUARE).sqrt() * apart
    mean = distances.sum() / max(count * (count - 1), 1)
    return distances / torch.where(mean > 0.0, mean, 1.0)
