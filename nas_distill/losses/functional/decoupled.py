"""DKD and NKD: separate terms for the label and for the other classes.

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
    """Decoupled knowledge distillation, in nats.

    alpha TCKD + beta NCKD, each times T^2 (Zhao et al. 2022, arXiv 2203.08679, equation 7). TCKD is the divergence
    between the two-class distributions (label, all others). NCKD is the divergence of the softmax over the other
    classes. With alpha = 1 and beta = 1 - the teacher's probability of the label, the sum is Hinton's loss.

    Both are computed from logarithms, so that they stay finite where a probability rounds to 0 or 1.

    Args:
        student_logits: Student logits [B, C].
        teacher_logits: Teacher logits [B, C]; no gradient flows to them.
        targets: Labels, int64 [B], or the share of each class in mixed images, float [B, C]; the class with the
            largest share is the label.
        alpha: Weight of TCKD, at least 0.
        beta: Weight of NCKD, at least 0.
        temperature: Temperature T, above 0.

    Returns:
        The loss, a scalar of at least 0 (up to rounding). With two classes, NCKD is 0.

    Raises:
        TeacherError: The shapes differ.
    """
    labels = hard_labels(targets)
    student_pair, student_others = _decoupled(student_logits / temperature, labels)
    teacher_pair, teacher_others = _decoupled(teacher_logits / temperature, labels)
    target = _divergence(student_pair, teacher_pair)
    others = _divergence(student_others, teacher_others)
    return (alpha * target + beta * others) * temperature**2


@logit_loss
def nkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    *,
    gamma: float = 1.5,
    temperature: float = 1.0,
) -> Tensor:
    """Normalised knowledge distillation, in nats.

    mean_i (-p_y log q_y - gamma T^2 sum_{j != y} p'_j log q'_j). p and q are the teacher's and the student's
    probabilities at temperature 1; p' and q' are those among the classes other than the label y, at temperature T
    (Yang et al. 2023, arXiv 2303.13005). Both terms are cross-entropies: the minimum is not 0, and a student that
    equals its teacher still has a gradient towards the label.

    Args:
        student_logits: Student logits [B, C].
        teacher_logits: Teacher logits [B, C]; no gradient flows to them.
        targets: Labels, int64 [B], or the share of each class in mixed images, float [B, C]; the class with the
            largest share is the label.
        gamma: Weight of the term of the other classes.
        temperature: Temperature T, above 0.

    Returns:
        The loss, a scalar of at least 0. With two classes, the second term is 0.

    Raises:
        TeacherError: The shapes differ.
    """
    labels = hard_labels(targets)
    log_student = log_softmax(student_logits, dim=1).gather(1, labels[:, None])
    log_teacher = log_softmax(teacher_logits, dim=1).gather(1, labels[:, None])
    label = -(log_teacher.exp() * log_student).mean()
    _, student_others = split_at_label(student_logits / temperature, labels)
    _, teacher_others = split_at_label(teacher_logits / temperature, labels)
    log_others = log_softmax(student_others, dim=1)
    others = -(log_softmax(teacher_others, dim=1).exp() * log_others).sum(dim=1).mean()
    return label + gamma * temperature**2 * others


def _decoupled(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of (label, all others), [B, 2], and of each class among the others, [B, C - 1]."""
    label, others = split_at_label(logits, labels)
    pair = torch.cat([label, others.logsumexp(dim=1, keepdim=True)], dim=1)
    return log_softmax(pair, dim=1), log_softmax(others, dim=1)


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    return (teacher.exp() * (teacher - student)).sum(dim=1).mean()
