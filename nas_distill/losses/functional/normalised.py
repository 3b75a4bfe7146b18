"""NKD: the other classes' share of the divergence, normalised.

Shapes: B images, C classes.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import log_softmax

from nas_distill.losses.functional.numerics import hard_labels, logit_loss, split_at_label


@logit_loss
def nkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    *,
    gamma: float = 1.5,
    temperature: float = 1.0,
) -> Tensor:
    """Normalised knowledge distillation, nats.

    mean_i (-p_y log q_y - gamma T^2 sum_{j != y} p'_j log q'_j): p and q are the teacher's and the student's
    probabilities at temperature 1, p' and q' those among the classes other than the label y at temperature T
    (Yang et al. 2023, arXiv 2303.13005). Both terms are cross-entropies: the least value is not 0, and
    a student that equals its teacher is still drawn to the label.

    Args:
        student_logits: [B, C].
        teacher_logits: [B, C]; no gradient flows to them.
        targets: int64 [B], or float [B, C] shares of mixed images, of which the largest counts.
        gamma: Weight of the other classes.
        temperature: T, above 0.

    Returns:
        A scalar of at least 0. With two classes the second term is 0.

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
