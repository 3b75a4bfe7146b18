"""The task that a worker receives: one candidate, one recipe, one seed."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, model_validator

from nas_distill.records.base import Record
from nas_distill.records.recipe import Mix, Recipe
from nas_distill.records.student import Cost, StudentSpec

Arm = Literal["distilled", "control", "released"]


class Confirmation(Record):
    """One of the repeated trainings by which a picked student is confirmed.

    Attributes:
        arm: "taught" by the trial's own recipe; "alone", the control, by the same without the teacher's terms;
            "released" by the same with per-class release (`Adaptation.release`).
        repetition: From 0; the arms of one repetition share their seed, and their fold where there are folds.
    """

    arm: Arm
    repetition: NonNegativeInt


class Fold(Record):
    """One part of the training split, on which a student is scored that was trained on the other parts.

    Attributes:
        number: Which part, from 0.
        of: How many parts.
    """

    number: NonNegativeInt
    of: Annotated[int, Field(ge=2)]

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.number >= self.of:
            raise ValueError(f"fold {self.number} of {self.of} does not exist; the last is {self.of - 1}")
        return self


OF_TEACHER = "teacher/"
"""How the names of the teacher's own answers begin."""


class TrialTask(Record):
    """What a worker is told to do.

    Attributes:
        number: Optuna's trial number.
        seed: Of initial weights, order of images and dropout.
        spec: The candidate.
        recipe: How to distil it.
        cost: What the candidate costs.
        assistant: Number of the trial whose student teaches; None when the teacher does.
        fold: Part of the training split that is scored instead of validation, and not trained on; None for none.
        confirmation: Which of a pick's repeated trainings this is; None in a search.
    """

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
        """Name of the knowledge that it is distilled from (`source_name`)."""
        return source_name(self.assistant, self.recipe.mix)


def source_name(assistant: int | None, mix: Mix) -> str:
    """Returns what the answers of one network to one kind of views are called: "teacher/none", "trial-12/mixup".

    Args:
        assistant: Number of the trial whose student answers; None for the teacher.
        mix: How the views' images are mixed.
    """
    return f"{OF_TEACHER if assistant is None else f'trial-{assistant}/'}{mix}"
