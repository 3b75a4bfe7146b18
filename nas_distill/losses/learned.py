"""The parts of losses that are trained along with the student and thrown away after it.

Each is made of the shapes of one image's features, without the batch, computes in float32 or better, and answers with
the loss of a batch.

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
    """A loss with parameters of its own; they belong into the optimiser and into the checkpoint."""

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Returns the loss, a scalar; autocast is off inside.

        Args:
            student: [B, ...].
            teacher: [B, ...]; no gradient flows to it.
        """
        with torch.autocast(student.device.type, enabled=False):
            return self.compute(at_least_float32(student), at_least_float32(teacher.detach()))

    @abstractmethod
    def compute(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Returns the loss of wide tensors."""

    def begin_epoch(self, epoch: int) -> None:
        """Is told the number of each epoch, from 0, before its first step."""


class HintRegressor(LearnedLoss):
    """FitNets' hint behind a convolution that brings the student's map to the teacher's shape.

    Half the size is met by a 3x3 convolution of stride 2, twice the size by a transposed 4x4 one, any other larger
    map by a kernel of 1 + difference (Romero et al. 2015, arXiv 1412.6550, section 2.2). A smaller map has the
    teacher's pooled to its size. Batch normalisation follows, as in later work, and ReLU.

    Args:
        student: (C, H, W).
        teacher: (C, H, W).
        relu: 1 when the teacher's map is taken after a ReLU, 0 otherwise.
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
        """Returns `functional.hint` of the regressed map."""
        regressed = self.normalisation(self.convolution(student))
        return hint(*pool_to_same_size(regressed.relu() if self._relu else regressed, teacher))


class VariationalRegressor(LearnedLoss):
    """VID behind its regressor: three 1x1 convolutions for the mean, one variance per channel of the teacher.

    The larger map is average-pooled to the smaller first (Ahn et al. 2019, arXiv 1904.05835, section 3).

    Args:
        student: (C, H, W).
        teacher: (C, H, W).
        hidden: Channels between the convolutions; 0 for the teacher's.
        variance: Of every channel at the start, above the floor.
        floor: The variance stays above it.
    """

    def __init__(
        self, student: Shape, teacher: Shape, *, hidden: float = 0.0, variance: float = 5.0, floor: float = 1e-5
    ) -> None:
        super().__init__()
        inputs, outputs = check_map("vid", student)[0], check_map("vid", teacher)[0]
        middle = int(hidden) or outputs
        self._floor = floor
        # The inverse of softplus; log(exp(x) - 1) overflows for large x, this form does not.
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
        """Returns `functional.vid` of the predicted mean and the variances."""
        source, target = pool_to_same_size(student, teacher)
        return vid(self.regressor(source), target, softplus(self.log_scale) + self._floor)


def check_map(loss: str, shape: Shape) -> tuple[int, int, int]:
    """Returns the shape of a feature map as (C, H, W).

    Args:
        loss: Who asks.
        shape: Of one image's features.

    Raises:
        ConfigError: It has other than three axes.
    """
    if len(shape) != 3:
        raise ConfigError(
            f"recipe.losses.{loss}: features of shape {list(shape)} are no feature map (channels, height, width); "
            "take a loss of embeddings, such as rkd, or of logits"
        )
    return shape[0], shape[1], shape[2]
