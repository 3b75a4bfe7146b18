"""The fixed network that is distilled."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from nas_distill.records import Recipe
from nas_distill.records.base import FrozenArguments, Record

LOCAL_DIR = "local-dir:"
"""Begins a teacher that is a folder of timm's making."""

RUN = "run:"
"""Begins a teacher that is the student of another run's trial: run:RUN/TRIAL."""


def split_run(model: str) -> tuple[Path, int]:
    """Returns the run directory and the trial number in `run:RUN/TRIAL`.

    Raises:
        ValueError: It names no trial.
    """
    folder, slash, trial = model.removeprefix(RUN).rpartition("/")
    if not slash or not folder or not (trial.isascii() and trial.isdigit()):
        raise ValueError(f"'{model}' names no trial; give {RUN}RUN/TRIAL, such as {RUN}runs/digits/12")
    return Path(folder), int(trial)


def default_teacher_recipe() -> Recipe:
    """Returns the recipe of `nas_distill teacher`: labels only, light smoothing, best epoch kept."""
    return Recipe(
        losses={}, label_weight=1.0, label_smoothing=0.05, epochs=30, learning_rate=3e-3, weight_decay=0.05,
        ema_decay=0.99, early_stopping_patience=10,
    )  # fmt: skip


class TeacherConfig(Record):
    """The fixed network that is distilled.

    Attributes:
        model: A timm name (give `checkpoint` too), `local-dir:PATH`, or `run:RUN/TRIAL`, the student of a trial of
            another run. With `digits` only, none trains one first.
        arguments: Constructor arguments for a timm name.
        checkpoint: Weights for a timm name: `.safetensors`, or a pickle with `trust_pickle`.
        trust_pickle: Open pickled weights; a pickle can run any code.
        image_size: Pixels at which it is asked; by default its own `input_size`. Views are resized to it.
        online: Ask the teacher at every step instead of storing its answers.
        top_k: Logits stored per view and image, the largest; of the others only their joint mass. 0 stores all; by
            default all of up to 128 classes, the 32 largest of more.
        embeddings: Store the teacher's penultimate embedding of every view too; done anyway where `recipe` compares it.
        recipe: How a teacher is trained, when one is.
    """

    model: str | None = None
    arguments: FrozenArguments = Field(default_factory=dict)
    checkpoint: str | None = None
    trust_pickle: bool = False
    image_size: PositiveInt | None = None
    online: bool = False
    top_k: NonNegativeInt | None = None
    embeddings: bool = False
    recipe: Recipe = Field(default_factory=default_teacher_recipe)

    @field_validator("model")
    @classmethod
    def _names_a_trial(cls, value: str | None) -> str | None:
        if value is not None and value.startswith(RUN):
            split_run(value)
        return value

    @model_validator(mode="after")
    def _embeddings_are_stored(self) -> Self:
        if self.embeddings and self.online:
            raise ValueError("embeddings are stored, and with online nothing is; leave one of the two out")
        return self
