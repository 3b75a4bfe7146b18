"""The teacher: the fixed network that is distilled."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from nas_distill.config.rules import broken_rule
from nas_distill.records import Recipe
from nas_distill.records.base import FrozenArguments, Record

LOCAL_DIR = "local-dir:"
"""Prefix of a teacher in timm's local-dir format."""

RUN = "run:"
"""Prefix of a teacher that is a student of another run: run:RUN/TRIAL."""


def split_run(model: str) -> tuple[Path, int]:
    """Return the run directory and the trial number in `run:RUN/TRIAL`.

    Raises:
        ValueError: The text names no trial.
    """
    folder, slash, trial = model.removeprefix(RUN).rpartition("/")
    if not slash or not folder or not (trial.isascii() and trial.isdigit()):
        raise ValueError(f"'{model}' names no trial; write {RUN}RUN/TRIAL, such as {RUN}runs/digits/12")
    return Path(folder), int(trial)


def default_teacher_recipe() -> Recipe:
    """Return the recipe of `nas_distill teacher`: labels only, light smoothing, best epoch kept."""
    return Recipe(
        losses={}, label_weight=1.0, label_smoothing=0.05, epochs=30, learning_rate=3e-3, weight_decay=0.05,
        ema_decay=0.99, early_stopping_patience=10,
    )  # fmt: skip


class TeacherConfig(Record):
    """The teacher: the fixed network that is distilled.

    Attributes:
        model: `local-dir:PATH` (a folder written by `nas_distill teacher` or in timm's local-dir format),
            `run:RUN/TRIAL` (a student of another run), or a timm name together with `checkpoint`. Default: for `digits`
            a small network is trained first; all other data need a teacher.
        arguments: Constructor arguments of a timm name.
        checkpoint: Weights of a timm name: a `.safetensors` file, or a pickle together with `trust_pickle`.
        trust_pickle: Allow pickled weights. A pickle can run arbitrary code: open only files that you trust.
        image_size: Input size of the teacher, pixels; views are resized to it. Default: its own `input_size`.
        online: Run the teacher at every training step instead of storing its outputs once.
        top_k: Number of largest logits stored per view; the others are stored as their joint probability mass. 0 stores
            all. Default: all for up to 128 classes, 32 for more.
        embeddings: Store the teacher's penultimate embeddings, too. They are stored anyway if a loss of `recipe` needs
            them.
        recipe: Training recipe of a teacher that has to be trained first.
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
            raise broken_rule(
                "cannot be combined with teacher.online, which stores nothing; remove one of the two",
                code="config.conflicting_values",
                field="teacher.embeddings",
            )
        return self
