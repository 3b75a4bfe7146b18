"""The public names of this package: the registry, the losses of a recipe, and their weighted sum."""

from nas_distill.losses.entries import STANDARDISE, WEIGHT, LossEntry, LossFunction, LossRegistry, Need, Rule
from nas_distill.losses.resolved import NONE, ResolvedLoss, required_outputs, resolve_losses, uses_teacher_head
from nas_distill.losses.shipped import LOSSES
from nas_distill.losses.weighted_sum import LABEL, TOTAL, DistillationLoss, LossTerm

__all__ = [
    "LABEL",
    "LOSSES",
    "NONE",
    "STANDARDISE",
    "TOTAL",
    "WEIGHT",
    "DistillationLoss",
    "LossEntry",
    "LossFunction",
    "LossRegistry",
    "LossTerm",
    "Need",
    "ResolvedLoss",
    "Rule",
    "required_outputs",
    "resolve_losses",
    "uses_teacher_head",
]
