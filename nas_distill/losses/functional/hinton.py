"""Hinton's distillation loss, and the same with a learned temperature.

Shapes: B images, C classes.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import log_softmax

from nas_distill.losses.functional.numerics import logit_loss


@logit_loss
def kd(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 2.0) -> Tensor:
    """Hinton's distillation loss, nats.

    T^2 / B sum_i KL(softmax(t_i / T) || softmax(s_i / T)); the factor T^2 unreleased its gradient's size when the
    temperature changes (Hinton, Vinyals and Dean 2015, arXiv 1503.02531, section 2).

    Args:
        student_logits: [B, C].
        teacher_logits: [B, C]; no gradient flows to them.
        temperature: Above 0.

    Returns:
        A scalar of at least 0 (up to rounding).

    Raises:
        TeacherError: The shapes differ.
    """
    return softened_divergence(student_logits, teacher_logits, temperature)


@logit_loss
def ctkd(student_logits: Tensor, teacher_logits: Tensor, temperature: Tensor) -> Tensor:
    """Hinton's loss at a temperature that is learned against the student, nats.

    tau^2 / B sum_i KL(softmax(t_i / tau) || softmax(s_i / tau)), where the gradient to tau arrives reversed, so that
    tau makes the task harder while the student learns (Li et al. 2023, arXiv 2211.16231, with the global
    temperature). The reversal and its schedule are `adaptive.CurriculumTemperature`.

    Args:
        student_logits: [B, C].
        teacher_logits: [B, C]; no gradient flows to them.
        temperature: A scalar above 0; the gradient flows to it.

    Returns:
        A scalar of at least 0 (up to rounding).

    Raises:
        TeacherError: The shapes differ.
    """
    return softened_divergence(student_logits, teacher_logits, temperature)


def softened_divergence(student: Tensor, teacher: Tensor, temperature: float | Tensor) -> Tensor:
    """Returns T^2 times the mean KL(teacher || student) at temperature T, nats.

    Args:
        student: [B, C].
        teacher: [B, C].
        temperature: T, above 0.
    """
    log_student = log_softmax(student / temperature, dim=1)
    log_teacher = log_softmax(teacher / temperature, dim=1)
    divergence = (log_teacher.exp() * (log_teacher - log_student)).sum(dim=1).mean()
    return divergence * temperature**2
