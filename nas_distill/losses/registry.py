"""The losses by name, and the weighted sum of them that a recipe asks for."""

from nas_distill.losses.entries import STANDARDISE, WEIGHT, LossEntry, LossFunction, LossRegistry, Need, Rule
from nas_distill.losses.shipped import LOSSES
from nas_distill.losses.weighted_sum import NONE, SERVED, DistillationLoss, LossTerm

__all__ = [
    "LOSSES",
    "NONE",
    "SERVED",
    "STANDARDISE",
    "WEIGHT",
    "DistillationLoss",
    "LossEntry",
    "LossFunction",
    "LossRegistry",
    "LossTerm",
    "Need",
    "Rule",
]
