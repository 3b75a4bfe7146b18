"""Attention transfer: compares where feature maps are active.

Shapes: B images, C channels, H x W positions.
"""

from __future__ import annotations

from torch import Tensor

from nas_distill.losses.functional.numerics import (
    divide_by_largest,
    feature_loss,
    nonzero_length,
    pool_to_same_size,
    safe_norm,
)


@feature_loss
def at(student: Tensor, teacher: Tensor, *, power: float = 2.0, squared: float = 0.0) -> Tensor:
    """Attention transfer between two feature maps. For several pairs of maps, add the losses.

    mean_i ||A(s_i) - A(t_i)||, where A is the map sum_c |x_c|^p over positions, flattened and scaled to length 1
    (Zagoruyko and Komodakis 2017, arXiv 1612.03928, equation 2; its beta / 2 is the weight). The authors' code uses
    another distance, the mean over images and positions of (A(s) - A(t))^2; `squared` selects it, and needs weights of
    about 1000. The larger map is average-pooled to the size of the smaller.

    Args:
        student: Student feature map [B, Cs, H, W].
        teacher: Teacher feature map [B, Ct, H', W']; no gradient flows to it.
        power: Exponent p, at least 1.
        squared: 1 for the distance of the authors' code, 0 for that of the paper.

    Returns:
        The loss, a scalar from 0 to the square root of 2 (to 2 / HW with `squared`). A map of zeros has A = 0.

    Raises:
        TeacherError: Student and teacher have different numbers of images.
    """
    student, teacher = pool_to_same_size(student, teacher)
    difference = _attention(student, power) - _attention(teacher, power)
    return difference.square().mean() if squared else safe_norm(difference, dim=1).mean()


def _attention(features: Tensor, power: float) -> Tensor:
    """Return attention maps of length 1, [B, HW]."""
    energy = divide_by_largest(features, dim=(1, 2, 3)).abs().pow(power).mean(dim=1).flatten(1)
    return energy / nonzero_length(energy, dim=1)
