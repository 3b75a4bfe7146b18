"""Losses with learned parameters. They are trained together with the student and discarded after training.

Each is built from the shapes of the features of one image (without the batch axis), computes in float32 or better, and
returns the loss of a batch.

Shapes: B images; C channels of H x W positions.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from nas_distill.errors import ConfigError
from nas_distill.losses.functional import hint, vid
from nas_distill.losses.functional.numerics import at_least_float32, pool_to_same_size
from nas_distill.model_outputs import Shape


class LearnedLoss(nn.Module, ABC):
    """A loss with learned parameters, which belong in the optimiser and in the checkpoint."""

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss, a scalar. Autocast is disabled inside.

        Args:
            student: Student features [B, ...].
            teacher: Teacher features [B, ...]; no gradient flows to them.
        """
        with torch.autocast(student.device.type, enabled=False):
            return self.compute(at_least_float32(student), at_least_float32(teacher.detach()))

    @abstractmethod
    def compute(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss of tensors that are float32 or float64."""

    def begin_epoch(self, epoch: int) -> None:
        """Prepare for an epoch, counted from 0. Called before its first step."""


class HintRegressor(LearnedLoss):
    """FitNets' hint loss after a convolution that maps the student's features to the teacher's shape.

    The convolution depends on the size of the student's map (Romero et al. 2015, arXiv 1412.6550, section 2.2): twice
    the teacher's size takes a 3x3 convolution with stride 2, half the size a transposed 4x4 convolution, any other
    larger map a kernel of 1 + difference. For any other smaller map the teacher's map is pooled to its size. Batch
    normalisation (as in later work) and ReLU follow.

    Args:
        student: Shape (C, H, W) of the student's map.
        teacher: Shape (C, H, W) of the teacher's map.
        relu: 1 to apply ReLU to the regressed map, for a teacher map after a ReLU; 0 otherwise.
    """

    def __init__(self, student: Shape, teacher: Shape, *, relu: float = 1.0) -> None:
        super().__init__()
        channels, height, width = check_map("hint", student)
        outputs, target_height, target_width = check_map("hint", teacher)
        self._relu = bool(relu)
        self.convolution: nn.Conv2d | nn.ConvTranspose2d
        if (height, width) == (2 * target_height, 2 * target_width):
            self.convolution = nn.Conv2d(channels, outputs, 3, stride=2, padding=1)
        elif (2 * height, 2 * width) == (target_height, target_width):
            self.convolution = nn.ConvTranspose2d(channels, outputs, 4, stride=2, padding=1)
        elif height >= target_height and width >= target_width:
            kernel = (1 + height - target_height, 1 + width - target_width)
            self.convolution = nn.Conv2d(channels, outputs, kernel)
        else:
            self.convolution = nn.Conv2d(channels, outputs, 3, padding=1)
        self.normalisation = nn.BatchNorm2d(outputs)

    def compute(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return `functional.hint` of the regressed map."""
        regressed = self.normalisation(self.convolution(student))
        return hint(*pool_to_same_size(regressed.relu() if self._relu else regressed, teacher))


class VariationalRegressor(LearnedLoss):
    """VID with its regressor: three 1x1 convolutions predict the mean, and each teacher channel has a learned variance.

    The larger map is first average-pooled to the size of the smaller (Ahn et al. 2019, arXiv 1904.05835, section 3).

    Args:
        student: Shape (C, H, W) of the student's map.
        teacher: Shape (C, H, W) of the teacher's map.
        hidden: Channels between the convolutions; 0 for as many as the teacher's map has.
        variance: Initial variance of every channel, above `floor`.
        floor: Lower bound of the variance.
    """

    def __init__(
        self, student: Shape, teacher: Shape, *, hidden: float = 0.0, variance: float = 5.0, floor: float = 1e-5
    ) -> None:
        super().__init__()
        inputs, outputs = check_map("vid", student)[0], check_map("vid", teacher)[0]
        middle = int(hidden) or outputs
        self._floor = floor
        # The inverse of softplus. Unlike log(exp(x) - 1), this form does not overflow for large x.
        rest = variance - floor
        self.log_scale = nn.Parameter(torch.full((outputs,), rest + math.log(-math.expm1(-rest))))
        self.regressor = nn.Sequential(
            nn.Conv2d(inputs, middle, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(middle, middle, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(middle, outputs, 1, bias=False),
        )

    def compute(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return `functional.vid` of the predicted mean and the variances."""
        source, target = pool_to_same_size(student, teacher)
        return vid(self.regressor(source), target, softplus(self.log_scale) + self._floor)


def check_map(loss: str, shape: Shape) -> tuple[int, int, int]:
    """Return the shape of a feature map as (C, H, W).

    Args:
        loss: Name of the loss, for the error.
        shape: Shape of the features of one image.

    Raises:
        ConfigError: The shape does not have three axes.
    """
    if len(shape) != 3:
        raise ConfigError(
            f"features of shape {list(shape)} are not a feature map (channels, height, width); use a loss of "
            "embeddings, such as rkd, or of logits",
            code="losses.needs_feature_map",
            field=f"recipe.losses.{loss}",
        )
    return shape[0], shape[1], shape[2]
