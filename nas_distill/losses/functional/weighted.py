"""WSLD: soft labels with one weight per image.

Shapes: B images, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, softmax

from nas_distill.losses.functional.numerics import logit_loss, targets_like

_EPSILON = 1e-7
"""Constant added to the teacher's cross-entropy, as in the authors' code."""


@logit_loss
def wsld(student_logits: Tensor, teacher_logits: Tensor, targets: Tensor, *, temperature: float = 4.0) -> Tensor:
    """Weighted soft-label distillation, in nats.

    T^2 mean_i w_i H(softmax(t_i / T), softmax(s_i / T)) with w_i = 1 - exp(-CE(s_i, y_i) / CE(t_i, y_i)). No gradient
    flows through w_i. Images on which the student already has a lower cross-entropy than the teacher count less (Zhou
    et al. 2021, arXiv 2102.00650). H is a cross-entropy, so the minimum is not 0.

    Args:
        student_logits: Student logits [B, C].
        teacher_logits: Teacher logits [B, C]; no gradient flows to them.
        targets: Labels, int64 [B], or the share of each class in mixed images, float [B, C].
        temperature: Temperature T, above 0.

    Returns:
        The loss, a scalar of at least 0. The paper's alpha is its weight in the sum of losses.

    Raises:
        TeacherError: The shapes differ.
    """
    with torch.no_grad():
        targets = targets_like(targets, student_logits)
        of_student = cross_entropy(student_logits, targets, reduction="none")
        of_teacher = cross_entropy(teacher_logits, targets, reduction="none")
        weights = 1 - torch.exp(-of_student / (of_teacher + _EPSILON))
    soft_labels = softmax(teacher_logits / temperature, dim=1)
    soft = -(soft_labels * log_softmax(student_logits / temperature, dim=1)).sum(dim=1)
    return (weights * soft).mean() * temperature**2
