"""Everything that decides a search."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from nas_distill.config.asha import AshaConfig
from nas_distill.config.assistants import AssistantsConfig
from nas_distill.config.data import FOLDER, DataConfig, ViewsConfig
from nas_distill.config.diagnosis import DiagnosisConfig
from nas_distill.config.resources import ResourcesConfig
from nas_distill.config.sampler import SamplerConfig
from nas_distill.config.teacher import LOCAL_DIR, RUN, TeacherConfig
from nas_distill.objectives import check_objectives
from nas_distill.records import Recipe
from nas_distill.records.base import Record

FIXED_RECIPE = "fixed"
"""Every candidate is distilled by the configuration's recipe."""

SEARCHED_RECIPE = "search"
"""Recipes come from the shipped recipe space."""

DEFAULT_TRIALS = 16

_SQLITE_FILE = "sqlite:///"
_OWN_SPACE = re.compile(r".+\.py(:\w+)?")
_NUMBER = r"(\d+(?:\.\d*)?)"
_DURATION = re.compile(rf"(?:{_NUMBER}d)?\s*(?:{_NUMBER}h)?\s*(?:{_NUMBER}m)?\s*(?:{_NUMBER}s?)?")
_UNITS_S = (86_400.0, 3600.0, 60.0, 1.0)


class SpaceConfig(Record):
    """The candidates.

    Attributes:
        name: A shipped space, or `FILE.py[:function]`.
        recipe: "fixed" distils every candidate by the `recipe` section; "search" lets the sampler choose losses, their
            parameters and regularisation too; or `FILE.py[:function]`, called with Optuna's trial and that section.
        points: Candidates to try first: a YAML or JSON file with a list of parameter mappings, or another run, whose
            front's parameters are taken.
        max_params: Candidates with more parameters are refused before training.
        max_macs: Candidates with more multiply-accumulates per image are refused before training.
        max_size_bytes: Candidates whose parameters and buffers take more bytes are refused before training.
        max_latency_ms: Candidates that take longer for one image, on one thread of the driver's CPU, are refused before
            training, milliseconds. It is measured beside running trials, hence noisy.
        allow_larger_than_teacher: Train students with a capacity ratio of 1 or more.
    """

    name: Annotated[str, Field(min_length=1)] = "tiny"
    recipe: Annotated[str, Field(min_length=1)] = FIXED_RECIPE
    points: str | None = None
    max_params: PositiveInt | None = None
    max_macs: PositiveInt | None = None
    max_size_bytes: PositiveInt | None = None
    max_latency_ms: PositiveFloat | None = None
    allow_larger_than_teacher: bool = False


class BudgetConfig(Record):
    """How much is tried: the bound that is reached first ends the handing out of trials; those in flight go on.

    Attributes:
        trials: Trials to train, those that are stopped early
            included, refused candidates not counted. By default 16, and no bound where there is another.
        time_s: Time of searching, seconds, over all sessions together: a number, or text such as "8h", "90m", "1h30m".
        epochs: Epochs to train in all, by trials that were stopped or failed too.
        patience: Fully trained trials in a row after which the front's hypervolume must have grown.
        max_rejections: Candidates refused in a row before the space is declared infeasible.
    """

    trials: PositiveInt | None = None
    time_s: PositiveFloat | None = None
    epochs: PositiveInt | None = None
    patience: PositiveInt | None = None
    max_rejections: PositiveInt = 200

    @property
    def most_trials(self) -> int | None:
        """Trials to train at most; None where another budget is the bound."""
        other = (self.time_s, self.epochs, self.patience)
        return DEFAULT_TRIALS if self.trials is None and other == (None, None, None) else self.trials

    @field_validator("time_s", mode="before")
    @classmethod
    def _seconds(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        parts = _DURATION.fullmatch(value.strip().lower())
        if parts is None or not any(parts.groups()):
            raise ValueError("must be a duration such as 8h, 90m, 1h30m or 3600s")
        return sum(float(part) * seconds for part, seconds in zip(parts.groups(), _UNITS_S, strict=True) if part)


class PicksConfig(Record):
    """How students are picked from the front.

    Attributes:
        gap_tolerance_points: The smallest student with a gap up to this is picked, percentage points.
        folds: Parts of the training split on each of which every picked student is scored, trained on the others; 0 for
            no cross-validation, else at least 2.
    """

    gap_tolerance_points: float = 1.0
    folds: int = 0

    @field_validator("folds")
    @classmethod
    def _none_or_several(cls, value: int) -> int:
        if value != 0 and value < 2:
            raise ValueError("must be 0 (no cross-validation), or at least 2")
        return value


class SearchConfig(Record):
    """Everything that decides a search.

    Attributes:
        data: The images.
        views: Deterministic augmentation.
        teacher: The fixed network.
        space: The candidates.
        sampler: Who proposes them.
        objectives: Two to four names; see `objectives`.
        budget: How much is tried.
        asha: Which trials are stopped early.
        recipe: How each student is distilled.
        resources: Where and how wide.
        picks: How students are picked.
        assistants: Students that teach smaller ones after the search.
        diagnosis: When a student counts as undertrained, too small, too large or mismatched.
        seed: Of proposals, initial weights and order of images.
    """

    data: DataConfig = Field(default_factory=DataConfig)
    views: ViewsConfig = Field(default_factory=ViewsConfig)
    teacher: TeacherConfig = Field(default_factory=TeacherConfig)
    space: SpaceConfig = Field(default_factory=SpaceConfig)
    sampler: SamplerConfig = Field(default_factory=SamplerConfig)
    objectives: tuple[str, ...] = Field(default=("gap_points", "num_params"), examples=[("gap_points", "num_params")])
    budget: BudgetConfig = Field(default_factory=BudgetConfig)
    asha: AshaConfig = Field(default_factory=AshaConfig)
    recipe: Recipe = Field(default_factory=Recipe)
    resources: ResourcesConfig = Field(default_factory=ResourcesConfig)
    picks: PicksConfig = Field(default_factory=PicksConfig)
    assistants: AssistantsConfig = Field(default_factory=AssistantsConfig)
    diagnosis: DiagnosisConfig = Field(default_factory=DiagnosisConfig)
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _teacher_is_known(self) -> Self:
        if self.teacher.model is None and self.data.source != "digits":
            raise ValueError(
                f"teacher.model is not given, and only 'digits' comes with a teacher recipe (data.source is "
                f"'{self.data.source}'); train one with `nas_distill teacher`, then pass --teacher local-dir:PATH"
            )
        return self

    @model_validator(mode="after")
    def _rungs_before_the_end(self) -> Self:
        rungs = self.asha.rungs
        if rungs is not None and rungs[-1] >= self.recipe.epochs:
            raise ValueError(
                f"asha.rungs: {rungs[-1]} is not below recipe.epochs, which is {self.recipe.epochs}; a trial that "
                "comes so far has ended"
            )
        return self

    def anchored(self, base: Path) -> SearchConfig:
        """Returns the configuration with its relative paths made absolute, so that it means the same from anywhere.

        Args:
            base: Folder to which the paths are relative.
        """

        def anchor(text: str | None, prefix: str = "") -> str | None:
            if text is None or not text.startswith(prefix):
                return text
            return prefix + str((base / Path(text.removeprefix(prefix)).expanduser()).resolve())

        def anchor_file(name: str) -> str | None:
            return anchor(name) if _OWN_SPACE.fullmatch(name) else name

        data, teacher, sampler, resources = self.data, self.teacher, self.sampler, self.resources
        return self.model_copy(
            update={
                "data": data.model_copy(update={"source": anchor(data.source, FOLDER), "root": anchor(data.root)}),
                "teacher": teacher.model_copy(
                    update={
                        "model": anchor(anchor(teacher.model, LOCAL_DIR), RUN),
                        "checkpoint": anchor(teacher.checkpoint),
                    }
                ),
                "space": self.space.model_copy(
                    update={
                        "name": anchor_file(self.space.name),
                        "recipe": anchor_file(self.space.recipe),
                        "points": anchor(self.space.points),
                    }
                ),
                "sampler": sampler.model_copy(update={"name": anchor_file(sampler.name)}),
                "resources": resources.model_copy(update={"storage": anchor(resources.storage, _SQLITE_FILE)}),
            }
        )

    @field_validator("objectives")
    @classmethod
    def _a_trade_off(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_objectives(value)
        return value
