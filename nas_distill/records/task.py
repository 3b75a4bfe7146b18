"""The task that a worker receives: one candidate, one recipe, one seed."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, model_validator

from nas_distill.records.base import Record
from nas_distill.records.cost import Cost
from nas_distill.records.recipe import Mix, Recipe
from nas_distill.records.student import StudentSpec

Arm = Literal["distilled", "control", "released", "random_weights"]

TRIAL_SCHEMA_VERSION = 2
"""Version of `TrialTask` and `TrialResult` on disk and in the study; one version for both, since they belong together.
"""


class Confirmation(Record):
    """Identifies one of the repeated trainings that confirm a picked student.

    Attributes:
        arm: "distilled" trains with the trial's own recipe; "control" with the same recipe without the teacher's loss
            terms; "released" with the same recipe and per-class release (`Adaptation.release`); "random_weights" with
            the trial's own recipe, but from random initial weights.
        repetition: Number of the repetition, from 0. The arms of a repetition share their seed and, if there are
            folds, their fold.
    """

    arm: Arm
    repetition: NonNegativeInt


class Fold(Record):
    """One part of the training split. The student is trained on the other parts and scored on this one.

    Attributes:
        number: Number of the part, from 0.
        of: Number of parts.
    """

    number: NonNegativeInt
    of: Annotated[int, Field(ge=2)]

    @model_validator(mode="after")
    def _check_number(self) -> Self:
        if self.number >= self.of:
            raise ValueError(f"fold {self.number} of {self.of} does not exist; the last is {self.of - 1}")
        return self


OF_TEACHER = "teacher/"
"""Prefix of the names of the teacher's own stored outputs."""


class TrialTask(Record):
    """One training: what to train, how, and with which seed. `task.json` of a trial folder.

    Attributes:
        schema_version: Version of this record on disk and in the study.
        number: Optuna's trial number.
        seed: Seed of the initial weights, the order of the images and dropout.
        spec: The candidate student.
        recipe: How to distil it.
        cost: Cost of the candidate.
        assistant: Number of the trial whose student teaches; None when the teacher does.
        fold: Part of the training split that is left out of training and scored instead of validation; None for no
            fold.
        confirmation: Which repeated training of a picked student this is; None in a search.
    """

    schema_version: Literal[2] = 2
    number: NonNegativeInt
    seed: NonNegativeInt
    spec: StudentSpec
    recipe: Recipe
    cost: Cost
    assistant: NonNegativeInt | None = None
    fold: Fold | None = None
    confirmation: Confirmation | None = None

    @property
    def source(self) -> str:
        """Name of the stored teacher outputs that the student is distilled from (`source_name`)."""
        return source_name(self.assistant, self.recipe.mix)


def source_name(assistant: int | None, mix: Mix) -> str:
    """Return the name of one network's stored outputs for one kind of views: "teacher/none", "trial-12/mixup".

    Args:
        assistant: Number of the trial whose student is the network; None for the teacher.
        mix: How the images of the views are mixed.
    """
    return f"{OF_TEACHER if assistant is None else f'trial-{assistant}/'}{mix}"
