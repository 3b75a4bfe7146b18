"""FitNets' hints and SimKD: the teacher's feature map as a regression target.

Shapes: B images; C channels of H x W positions, or D features. The student's own shape is brought to the teacher's
by a learned module (`learned.HintRegressor`, `models.teacher_head.Projector`).
"""

from __future__ import annotations

from torch import Tensor

from nas_distill.errors import TeacherError
from nas_distill.losses.functional.numerics import feature_loss, pool_to_same_size


@feature_loss
def hint(student: Tensor, teacher: Tensor) -> Tensor:
    """FitNets' hint: mean over all elements of (r(student) - teacher)^2.

    (Romero et al. 2015, arXiv 1412.6550, equation 3, which has half the sum in place of the mean.)

    Args:
        student: [B, C, H, W] or [B, D], after the regressor r.
        teacher: The same shape; no gradient flows to it.

    Returns:
        A scalar of at least 0.

    Raises:
        TeacherError: The shapes differ.
    """
    return _mean_squared_difference(student, teacher)


@feature_loss
def simkd(student: Tensor, teacher: Tensor) -> Tensor:
    """SimKD: mean over all elements of (P(student) - teacher)^2, at the map before the teacher's classifier.

    (Chen et al. 2022, arXiv 2203.14001.) The method then answers through the teacher's own classifier,
    so that projector P and classifier are part of the student that is deployed, and of what it costs.

    Args:
        student: [B, C, H, W], after the projector P.
        teacher: [B, C, H', W']; the larger map is average-pooled to the smaller. No gradient flows to it.

    Returns:
        A scalar of at least 0.

    Raises:
        TeacherError: The channels differ.
    """
    return _mean_squared_difference(*pool_to_same_size(student, teacher))


def _mean_squared_difference(student: Tensor, teacher: Tensor) -> Tensor:
    if student.shape != teacher.shape:
        raise TeacherError(
            f"student features of shape {list(student.shape)} against teacher features of shape "
            f"{list(teacher.shape)}: a regressor must bring the student's to the teacher's shape first"
        )
    return (student - teacher).square().mean()
