"""The records that travel through the service and are stored on disk."""

from __future__ import annotations

from nas_distill.records.recipe import Adaptation, Recipe, RecipeChoices
from nas_distill.records.space_trial import SpaceTrial
from nas_distill.records.student import Cost, StudentSpec
from nas_distill.records.task import Arm, Confirmation, Fold
from nas_distill.records.teacher import TeacherLink, TeacherRecord
from nas_distill.records.trial import (
    Attention,
    EpochMetrics,
    Execution,
    MemoryFormat,
    Precision,
    StudentMetrics,
    TrialRecord,
    TrialStatus,
)

__all__ = [
    "Adaptation",
    "Arm",
    "Attention",
    "Confirmation",
    "Cost",
    "EpochMetrics",
    "Execution",
    "Fold",
    "MemoryFormat",
    "Precision",
    "Recipe",
    "RecipeChoices",
    "SpaceTrial",
    "StudentMetrics",
    "StudentSpec",
    "TeacherLink",
    "TeacherRecord",
    "TrialRecord",
    "TrialStatus",
]
