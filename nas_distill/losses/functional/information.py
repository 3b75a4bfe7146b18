"""VID: how well the student's features predict the teacher's.

Shapes: B images, C channels of the teacher, H x W positions.
"""

from __future__ import annotations

from torch import Tensor

from nas_distill.losses.functional.numerics import feature_loss


@feature_loss
def vid(prediction: Tensor, teacher: Tensor, variance: Tensor) -> Tensor:
    """Variational information distillation, nats up to a constant.

    mean over all elements of ((mu(s) - t)^2 / sigma_c^2 + log sigma_c^2) / 2: the negative log-likelihood of the
    teacher's features under a normal distribution with a learned mean and one learned variance per channel (Ahn et
    al. 2019, arXiv 1904.05835). Mean and variance are `learned.VariationalRegressor`'s.

    Args:
        prediction: mu(s), [B, C, H, W].
        teacher: t, [B, C, H, W]; no gradient flows to it.
        variance: sigma_c^2, [C], above 0; the gradient flows to it.

    Returns:
        A scalar; it has no least value, for the variance may shrink.

    Raises:
        TeacherError: The features are not of the same images.
    """
    spread = variance[:, None, None]
    return ((prediction - teacher).square() / spread + spread.log()).mean() / 2
