"""Decoupled distillation: the label's share of the divergence apart from that of the other classes.

Shapes: B images, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from nas_distill.losses.functional.numerics import hard_labels, logit_loss, split_at_label


@logit_loss
def dkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 2.0,
    temperature: float = 2.0,
) -> Tensor:
    """Decoupled knowledge distillation, nats.

    alpha TCKD + beta NCKD, each times T^2 (Zhao et al. 2022, arXiv 2203.08679, equation 7). TCKD is the divergence
    of (label, all others) as two classes; NCKD that of the softmax over the other classes alone. With alpha 1 and
    beta (1 - teacher's probability of the label) it would be Hinton's loss.

    Both are computed from logarithms, so that they stay finite where a probability rounds to 0 or 1.

    Args:
        student_logits: [B, C].
        teacher_logits: [B, C]; no gradient flows to them.
        targets: int64 [B], or float [B, C] shares of mixed images, of which the largest counts.
        alpha: Weight of TCKD.
        beta: Weight of NCKD.
        temperature: T, above 0.

    Returns:
        A scalar of at least 0 (up to rounding). With two classes NCKD is 0.

    Raises:
        TeacherError: The shapes differ.
    """
    labels = hard_labels(targets)
    student_pair, student_others = _decoupled(student_logits / temperature, labels)
    teacher_pair, teacher_others = _decoupled(teacher_logits / temperature, labels)
    target = _divergence(student_pair, teacher_pair)
    others = _divergence(student_others, teacher_others)
    return (alpha * target + beta * others) * temperature**2


def _decoupled(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns log-probabilities of (label, others), [B, 2], and of each other class among those, [B, C - 1]."""
    label, others = split_at_label(logits, labels)
    pair = torch.cat([label, others.logsumexp(dim=1, keepdim=True)], dim=1)
    return log_softmax(pair, dim=1), log_softmax(others, dim=1)


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    return (teacher.exp() * (teacher - student)).sum(dim=1).mean()
