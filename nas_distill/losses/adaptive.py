"""Losses that change while the student learns: CTKD's temperature, learned against the student."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from nas_distill.losses.functional import ctkd
from nas_distill.losses.learned import LearnedLoss
from nas_distill.model_outputs import Shape


class _Reversal(torch.autograd.Function):
    """Passes a value on and its gradient back times a factor."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return gradients[0] * factor, None


def scale_gradient(value: Tensor, factor: Tensor) -> Tensor:
    """Returns `value`; its gradient is multiplied by `factor` on the way back, and so reversed below 0.

    (Ganin and Lempitsky 2015, arXiv 1409.7495, section 3.2.)

    Args:
        value: Anything.
        factor: A scalar.
    """
    scaled: Tensor = _Reversal.apply(value, factor)
    return scaled


def reversal_factor(epoch: int, *, epochs: float, start: float = 0.0, end: float = -1.0) -> float:
    """Returns CTKD's lambda: from `start` to `end` along half a cosine, `end` from then on.

    end + (start - end) (1 + cos(pi min(e, E) / E)) / 2 (Li et al. 2023, arXiv 2211.16231, section 3.3).

    Args:
        epoch: e, at least 0.
        epochs: E, above 0.
        start: At e = 0.
        end: From e = E.
    """
    return end + (start - end) * (1 + math.cos(math.pi * min(epoch / epochs, 1.0))) / 2


class CurriculumTemperature(LearnedLoss):
    """CTKD: Hinton's loss at a temperature that is trained to make it larger.

    tau = lowest + span sigmoid(theta), theta from 1. The gradient to theta is multiplied by lambda, which goes from 0
    to -1 over the first epochs, so that a step of the optimiser that lowers the student's loss raises the loss
    through tau (Li et al. 2023, arXiv 2211.16231, the global temperature).

    Args:
        student: Not used.
        teacher: Not used.
        lowest: tau is above it.
        span: tau is below lowest + span.
        curriculum_epochs: Over which lambda goes to -1; the first epoch already has the first step of it.
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
        # On the device, so that a step that was recorded once (a CUDA graph) follows the schedule; a function of the
        # epoch, so that no checkpoint needs it.
        self.register_buffer("reversal", torch.zeros(()), persistent=False)

    def begin_epoch(self, epoch: int) -> None:
        """Sets lambda for epoch number `epoch`, from 0."""
        self.reversal.fill_(reversal_factor(epoch + 1, epochs=self._curriculum_epochs))

    def temperature(self) -> Tensor:
        """Returns tau, a scalar whose gradient arrives reversed."""
        return self._lowest + self._span * torch.sigmoid(scale_gradient(self.theta, self.reversal))

    def compute(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Returns `functional.ctkd` at the temperature of now."""
        return ctkd(student, teacher, self.temperature())
