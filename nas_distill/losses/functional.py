"""Distillation losses as pure functions of logits.

Shapes: B images, C classes. All compute in float32 or better, whatever they are given.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax


def _wide(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def kd(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0) -> Tensor:
    """Hinton's distillation loss, nats.

    T^2 / B sum_i KL(softmax(t_i / T) || softmax(s_i / T)); the factor T^2 keeps its gradient's size when the
    temperature changes (Hinton, Vinyals and Dean 2015, arXiv 1503.02531, section 2).

    Args:
        student_logits: [B, C].
        teacher_logits: [B, C]; no gradient flows to them.
        temperature: Above 0.

    Returns:
        A scalar of at least 0 (up to rounding).
    """
    student = log_softmax(_wide(student_logits) / temperature, dim=1)
    teacher = log_softmax(_wide(teacher_logits.detach()) / temperature, dim=1)
    divergence = (teacher.exp() * (teacher - student)).sum(dim=1).mean()
    return divergence * temperature**2
