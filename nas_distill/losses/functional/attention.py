"""Attention transfer: where a feature map is active, not how.

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
    """Attention transfer between two feature maps; for several pairs of maps, add up.

    mean_i ||A(s_i) - A(t_i)||, A being the map sum_c |x_c|^p over positions, flattened and of length 1 (Zagoruyko and
    Komodakis 2017, arXiv 1612.03928, equation 2; its beta / 2 is the weight). The authors' code has another
    distance, the mean over images and positions of (A(s) - A(t))^2: that is `squared`, which goes with weights
    about 1000. A larger map is average-pooled to the smaller.

    Args:
        student: [B, Cs, H, W].
        teacher: [B, Ct, H', W']; no gradient flows to it.
        power: p, at least 1.
        squared: 1 for the distance of the authors' code, 0 for that of the paper.

    Returns:
        A scalar, from 0 to the square root of 2 (to 2 / HW when squared). A dead map has no attention: A = 0.

    Raises:
        TeacherError: The maps are not of the same images.
    """
    student, teacher = pool_to_same_size(student, teacher)
    difference = _attention(student, power) - _attention(teacher, power)
    return difference.square().mean() if squared else safe_norm(difference, dim=1).mean()


def _attention(features: Tensor, power: float) -> Tensor:
    """Returns attention maps of length 1, [B, HW]."""
    energy = divide_by_largest(features, dim=(1, 2, 3)).abs().pow(power).mean(dim=1).flatten(1)
    return energy / nonzero_length(energy, dim=1)
