"""FitNets' hints and SimKD: regression to the teacher's feature map.

Shapes: B images; C channels of H x W positions, or D features. A learned module maps the student's features to the
teacher's shape (`learned.HintRegressor`, `models.teacher_head.Projector`).
"""

from __future__ import annotations

from torch import Tensor

from nas_distill.errors import TeacherError
from nas_distill.losses.functional.numerics import feature_loss, pool_to_same_size


@feature_loss
def hint(student: Tensor, teacher: Tensor) -> Tensor:
    """FitNets' hint: the mean over all elements of (r(student) - teacher)^2.

    Romero et al. 2015, arXiv 1412.6550, equation 3, which has half the sum instead of the mean.

    Args:
        student: Student features after the regressor r, [B, C, H, W] or [B, D].
        teacher: Teacher features of the same shape; no gradient flows to them.

    Returns:
        The loss, a scalar of at least 0.

    Raises:
        TeacherError: The shapes differ.
    """
    return _mean_squared_difference(student, teacher)


@feature_loss
def simkd(student: Tensor, teacher: Tensor) -> Tensor:
    """SimKD: the mean over all elements of (P(student) - teacher)^2 at the map before the teacher's classifier.

    Chen et al. 2022, arXiv 2203.14001. The student uses the teacher's own classifier, so projector P and classifier
    are part of the deployed student and count in its cost.

    Args:
        student: Student map after the projector P, [B, C, H, W].
        teacher: Teacher map [B, C, H', W']; no gradient flows to it. The larger map is average-pooled to the smaller.

    Returns:
        The loss, a scalar of at least 0.

    Raises:
        TeacherError: The numbers of channels differ.
    """
    return _mean_squared_difference(*pool_to_same_size(student, teacher))


def _mean_squared_difference(student: Tensor, teacher: Tensor) -> Tensor:
    if student.shape != teacher.shape:
        raise TeacherError(
            f"student features have shape {list(student.shape)} and teacher features {list(teacher.shape)}; map the "
            "student's features to the teacher's shape with a regressor first",
            code="losses.shape_mismatch",
        )
    return (student - teacher).square().mean()
