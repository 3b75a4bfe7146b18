"""What a worker is told to do. Imports no torch."""

from __future__ import annotations

from pydantic import NonNegativeInt

from nas_distill.frozen import Record
from nas_distill.recipe import Mix
from nas_distill.records import Confirmation, Cost, Fold, Recipe, StudentSpec

OF_TEACHER = "teacher/"
"""How the names of the teacher's own answers begin."""


class Assignment(Record):
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
