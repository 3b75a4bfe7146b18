"""The records that move between processes and are stored on disk."""

from __future__ import annotations

from nas_distill.records.calibration import Calibration
from nas_distill.records.cost import Cost
from nas_distill.records.execution import (
    Attention,
    ExecutionInfo,
    ExecutionSettings,
    InitialWeightsReport,
    MemoryFormat,
    Precision,
)
from nas_distill.records.normalisation import Normalisation
from nas_distill.records.recipe import Adaptation, Recipe, RecipeChoices
from nas_distill.records.space_context import SpaceContext, SpaceInfo, SpaceMisfitError, SpaceTrial, TeacherShape
from nas_distill.records.student import FROM_TEACHER, PRETRAINED, RANDOM, StudentSpec
from nas_distill.records.task import Arm, Confirmation, Fold, TrialTask
from nas_distill.records.teacher import TeacherLink, TeacherRecord
from nas_distill.records.trial import EpochMetrics, StudentMetrics, TrialOutcome, TrialRecord, TrialResult, TrialStatus

__all__ = [
    "FROM_TEACHER",
    "PRETRAINED",
    "RANDOM",
    "Adaptation",
    "Arm",
    "Attention",
    "Calibration",
    "Confirmation",
    "Cost",
    "EpochMetrics",
    "ExecutionInfo",
    "ExecutionSettings",
    "Fold",
    "InitialWeightsReport",
    "MemoryFormat",
    "Normalisation",
    "Precision",
    "Recipe",
    "RecipeChoices",
    "SpaceContext",
    "SpaceInfo",
    "SpaceMisfitError",
    "SpaceTrial",
    "StudentMetrics",
    "StudentSpec",
    "TeacherLink",
    "TeacherRecord",
    "TeacherShape",
    "TrialOutcome",
    "TrialRecord",
    "TrialResult",
    "TrialStatus",
    "TrialTask",
]
