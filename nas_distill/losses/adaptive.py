"""CTKD: a distillation loss whose temperature is learned adversarially to the student."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from nas_distill.losses.functional import ctkd
from nas_distill.losses.learned import LearnedLoss
from nas_distill.model_outputs import Shape


class _Reversal(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return gradients[0] * factor, None


def scale_gradient(value: Tensor, factor: Tensor) -> Tensor:
    """Return `value` unchanged; multiply its gradient by `factor` in the backward pass.

    A negative factor reverses the gradient (Ganin and Lempitsky 2015, arXiv 1409.7495, section 3.2).

    Args:
        value: Tensor of any shape.
        factor: Scalar tensor.
    """
    scaled: Tensor = _Reversal.apply(value, factor)
    return scaled


def reversal_factor(epoch: int, *, epochs: float, start: float = 0.0, end: float = -1.0) -> float:
    """Return CTKD's gradient factor lambda in one epoch.

    lambda follows half a cosine from `start` to `end` and then stays there:
    end + (start - end) (1 + cos(pi min(e, E) / E)) / 2 (Li et al. 2023, arXiv 2211.16231, section 3.3).

    Args:
        epoch: Epoch e, at least 0.
        epochs: Length E of the schedule in epochs, above 0.
        start: lambda at e = 0.
        end: lambda from e = E on.
    """
    return end + (start - end) * (1 + math.cos(math.pi * min(epoch / epochs, 1.0))) / 2


class CurriculumTemperature(LearnedLoss):
    """CTKD: Hinton's loss with a temperature that is trained to increase the loss.

    tau = lowest + span sigmoid(theta), where theta starts at 1. The gradient of theta is multiplied by lambda, which
    goes from 0 to -1 over the first epochs. The same optimiser step then lowers the loss through the student and
    raises it through tau (Li et al. 2023, arXiv 2211.16231, the variant with one global temperature).

    Args:
        student: Not used; part of the signature of all learned losses.
        teacher: Not used.
        lowest: Lower bound of tau.
        span: Width of the range of tau: tau is below lowest + span.
        curriculum_epochs: Epochs over which lambda goes from 0 to -1. The first epoch already uses its first step.
    """

    reversal: Tensor

    def __init__(
        self,
        student: Shape = (),
        teacher: Shape = (),
        *,
        lowest: float = 1.0,
        span: float = 20.0,
        curriculum_epochs: float = 10.0,
    ) -> None:
        del student, teacher
        super().__init__()
        self._lowest, self._span, self._curriculum_epochs = lowest, span, curriculum_epochs
        self.theta = nn.Parameter(torch.ones(()))
        # A buffer on the device, so that a recorded step (a CUDA graph) follows the schedule. It is a function of the
        # epoch, so checkpoints do not hold it.
        self.register_buffer("reversal", torch.zeros(()), persistent=False)

    def begin_epoch(self, epoch: int) -> None:
        """Set lambda for an epoch, counted from 0."""
        self.reversal.fill_(reversal_factor(epoch + 1, epochs=self._curriculum_epochs))

    def temperature(self) -> Tensor:
        """Return tau, a scalar. Its gradient to theta is multiplied by lambda."""
        return self._lowest + self._span * torch.sigmoid(scale_gradient(self.theta, self.reversal))

    def compute(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return `functional.ctkd` at the current temperature."""
        return ctkd(student, teacher, self.temperature())
