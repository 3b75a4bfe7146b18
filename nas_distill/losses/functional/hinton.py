"""Hinton's distillation loss, with a fixed and with a learned temperature.

Shapes: B images, C classes.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import log_softmax

from nas_distill.losses.functional.numerics import logit_loss


@logit_loss
def kd(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 2.0) -> Tensor:
    """Hinton's distillation loss, in nats.

    T^2 / B sum_i KL(softmax(t_i / T) || softmax(s_i / T)). The factor T^2 keeps the size of the gradient when the
    temperature changes (Hinton, Vinyals and Dean 2015, arXiv 1503.02531, section 2).

    Args:
        student_logits: Student logits [B, C].
        teacher_logits: Teacher logits [B, C]; no gradient flows to them.
        temperature: Temperature T, above 0.

    Returns:
        The loss, a scalar of at least 0 (up to rounding).

    Raises:
        TeacherError: The shapes differ.
    """
    return softened_divergence(student_logits, teacher_logits, temperature)


@logit_loss
def ctkd(student_logits: Tensor, teacher_logits: Tensor, temperature: Tensor) -> Tensor:
    """Hinton's loss with a temperature that is learned adversarially to the student, in nats.

    tau^2 / B sum_i KL(softmax(t_i / tau) || softmax(s_i / tau)). Training reverses the gradient of tau, so that tau
    makes the task harder as the student learns (Li et al. 2023, arXiv 2211.16231, the variant with one global
    temperature). `adaptive.CurriculumTemperature` implements the reversal and its schedule.

    Args:
        student_logits: Student logits [B, C].
        teacher_logits: Teacher logits [B, C]; no gradient flows to them.
        temperature: Temperature tau, a scalar tensor above 0; the gradient flows to it.

    Returns:
        The loss, a scalar of at least 0 (up to rounding).

    Raises:
        TeacherError: The shapes differ.
    """
    return softened_divergence(student_logits, teacher_logits, temperature)


def softened_divergence(student: Tensor, teacher: Tensor, temperature: float | Tensor) -> Tensor:
    """Return T^2 times the mean KL(teacher || student) at temperature T, in nats.

    Args:
        student: Student logits [B, C].
        teacher: Teacher logits [B, C].
        temperature: Temperature T, above 0.
    """
    log_student = log_softmax(student / temperature, dim=1)
    log_teacher = log_softmax(teacher / temperature, dim=1)
    divergence = (log_teacher.exp() * (log_teacher - log_student)).sum(dim=1).mean()
    return divergence * temperature**2
