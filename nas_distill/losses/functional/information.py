"""VID: the likelihood of the teacher's features given the student's.

Shapes: B images, C channels of the teacher, H x W positions.
"""

from __future__ import annotations

from torch import Tensor

from nas_distill.losses.functional.numerics import feature_loss


@feature_loss
def vid(prediction: Tensor, teacher: Tensor, variance: Tensor) -> Tensor:
    """Variational information distillation, in nats up to a constant.

    The mean over all elements of ((mu(s) - t)^2 / sigma_c^2 + log sigma_c^2) / 2. This is the negative log-likelihood
    of the teacher's features under a normal distribution with a learned mean and one learned variance per channel (Ahn
    et al. 2019, arXiv 1904.05835). `learned.VariationalRegressor` provides mean and variance.

    Args:
        prediction: Predicted mean mu(s), [B, C, H, W].
        teacher: Teacher feature map t, [B, C, H, W]; no gradient flows to it.
        variance: Variances sigma_c^2, [C], above 0; the gradient flows to them.

    Returns:
        The loss, a scalar. It is not bounded from below, because the variance may shrink.

    Raises:
        TeacherError: Student and teacher have different numbers of images.
    """
    spread = variance[:, None, None]
    return ((prediction - teacher).square() / spread + spread.log()).mean() / 2
