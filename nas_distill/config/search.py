"""`SearchConfig`: everything that decides a search."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from nas_distill.config.asha import AshaConfig
from nas_distill.config.assistants import AssistantsConfig
from nas_distill.config.data import DIGITS, FOLDER, DataConfig, ViewsConfig
from nas_distill.config.diagnosis import DiagnosisConfig
from nas_distill.config.parsing.durations import seconds
from nas_distill.config.resources import ResourcesConfig
from nas_distill.config.rules import broken_rule
from nas_distill.config.sampler import SamplerConfig
from nas_distill.config.space import DIGITS_SPACE, PHOTO_SPACE, SpaceConfig
from nas_distill.config.target import TargetConfig
from nas_distill.config.teacher import LOCAL_DIR, RUN, TeacherConfig
from nas_distill.objectives import AFTER_TRAINING, check_objectives
from nas_distill.records import Recipe
from nas_distill.records.base import Record

DEFAULT_TRIALS = 16

_SQLITE_FILE = "sqlite:///"
PLUGIN_NAME = re.compile(r"^(.+\.py|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)$")
Plugin = Annotated[str, Field(pattern=PLUGIN_NAME.pattern)]
"""An importable module or a Python file."""

_OWN_SPACE = re.compile(r".+\.py(:\w+)?")


class BudgetConfig(Record):
    """The budget of a search. The first limit reached ends it: no new trial starts, running trials finish.

    Attributes:
        trials: Number of trials, stopped and failed ones included, rejected candidates not. Default: 16, or no limit if
            another budget is set.
        time_s: Search time, seconds, summed over all sessions: a number, or text such as "8h", "90m" or "1h30m".
        epochs: Total number of epochs, those of stopped and failed trials included.
        patience: The search ends after this many fully trained trials in a row that did not increase the front's
            hypervolume.
        max_rejections: Rejected candidates in a row after which the search stops with an error, because the space is
            infeasible.
    """

    trials: PositiveInt | None = None
    time_s: PositiveFloat | None = None
    epochs: PositiveInt | None = None
    patience: PositiveInt | None = None
    max_rejections: PositiveInt = 200

    @property
    def most_trials(self) -> int | None:
        """The largest number of trials; None if only another budget limits the search."""
        other = (self.time_s, self.epochs, self.patience)
        return DEFAULT_TRIALS if self.trials is None and other == (None, None, None) else self.trials

    @field_validator("time_s", mode="before")
    @classmethod
    def _seconds(cls, value: Any) -> Any:
        return seconds(value)


class PicksConfig(Record):
    """The recommended students.

    Attributes:
        gap_tolerance_points: Acceptable capacity gap, percentage points: the smallest student within it is picked.
        folds: Number of folds of the cross-validation of every pick: at least 2, or 0 for none.
    """

    gap_tolerance_points: float = 1.0
    folds: int = 0

    @field_validator("folds")
    @classmethod
    def _none_or_several(cls, value: int) -> int:
        if value != 0 and value < 2:
            raise ValueError("must be 0 (no cross-validation) or at least 2")
        return value


class SearchConfig(Record):
    """Everything that decides a search.

    Attributes:
        data: The images and their splits.
        views: Deterministic augmentation.
        teacher: The fixed network that is distilled.
        space: The search space and its constraints.
        target: The device that students are for.
        sampler: The sampler that proposes candidates.
        objectives: Two to four objectives, at least one quality and one cost: gap_points, divergence_nats, nll_nats,
            agreement; num_params, macs, size_bytes, peak_memory_bytes; latency_ms, throughput_per_s, which are measured
            on the target; or an objective of a plugin.
        budget: The budget of the search.
        asha: Early stopping of weak trials.
        recipe: How students are distilled.
        resources: Compute resources of trials.
        picks: The recommended students.
        assistants: Teacher assistants.
        diagnosis: Thresholds of the diagnosis.
        plugins: Python modules to import before the search, in the driver and in every worker: importable names
            (`package.module`) or paths (`FILE.py`). They register losses, objectives, stopping rules and
            architectures.
        seed: Random seed of proposals, initial weights and image order.
    """

    data: DataConfig = Field(default_factory=DataConfig)
    views: ViewsConfig = Field(default_factory=ViewsConfig)
    teacher: TeacherConfig = Field(default_factory=TeacherConfig)
    space: SpaceConfig = Field(default_factory=SpaceConfig)
    target: TargetConfig = Field(default_factory=TargetConfig)
    sampler: SamplerConfig = Field(default_factory=SamplerConfig)
    objectives: tuple[str, ...] = Field(default=("gap_points", "num_params"), examples=[("gap_points", "num_params")])
    budget: BudgetConfig = Field(default_factory=BudgetConfig)
    asha: AshaConfig = Field(default_factory=AshaConfig)
    recipe: Recipe = Field(default_factory=Recipe)
    resources: ResourcesConfig = Field(default_factory=ResourcesConfig)
    picks: PicksConfig = Field(default_factory=PicksConfig)
    assistants: AssistantsConfig = Field(default_factory=AssistantsConfig)
    diagnosis: DiagnosisConfig = Field(default_factory=DiagnosisConfig)
    plugins: tuple[Plugin, ...] = Field(default=(), examples=[("my_losses.py",)])
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _teacher_is_known(self) -> Self:
        if self.teacher.model is None and self.data.source != DIGITS:
            raise broken_rule(
                f"missing: data.source is '{self.data.source}', and only 'digits' comes with a teacher; train one with "
                "`nas_distill teacher`, then pass --teacher local-dir:PATH",
                code="config.teacher_missing",
                field="teacher.model",
            )
        return self

    @model_validator(mode="after")
    def _rungs_before_the_end(self) -> Self:
        rungs = self.asha.rungs
        if rungs is not None and rungs[-1] >= self.recipe.epochs:
            raise broken_rule(
                f"{rungs[-1]} is not below recipe.epochs ({self.recipe.epochs}); remove it, or train longer",
                code="config.rung_after_last_epoch",
                field="asha.rungs",
            )
        return self

    @property
    def user_modules(self) -> tuple[str, ...]:
        """All modules and files of the user that register names: plugins, and the files of both search spaces.

        Workers import them before they open the run.
        """
        files = (
            name.partition(":")[0] for name in (self.space.name or "", self.space.recipe) if _OWN_SPACE.fullmatch(name)
        )
        return (*self.plugins, *files)

    def with_space_name(self) -> SearchConfig:
        """Return a copy that names the search space: the default one for the images, unless the user named another."""
        if self.space.name is not None:
            return self
        name = DIGITS_SPACE if self.data.source == DIGITS else PHOTO_SPACE
        return self.model_copy(update={"space": self.space.model_copy(update={"name": name})})

    def with_absolute_paths(self, base: Path) -> SearchConfig:
        """Return a copy with absolute paths, which means the same in every working directory.

        Args:
            base: Folder that the paths are relative to.
        """

        def absolute(text: str | None, prefix: str = "") -> str | None:
            if text is None or not text.startswith(prefix):
                return text
            return prefix + str((base / Path(text.removeprefix(prefix)).expanduser()).resolve())

        def absolute_file(name: str | None) -> str | None:
            return absolute(name) if name is not None and _OWN_SPACE.fullmatch(name) else name

        data, teacher, sampler, resources = self.data, self.teacher, self.sampler, self.resources
        return self.model_copy(
            update={
                "plugins": tuple(absolute(name) if name.endswith(".py") else name for name in self.plugins),
                "data": data.model_copy(update={"source": absolute(data.source, FOLDER), "root": absolute(data.root)}),
                "teacher": teacher.model_copy(
                    update={
                        "model": absolute(absolute(teacher.model, LOCAL_DIR), RUN),
                        "checkpoint": absolute(teacher.checkpoint),
                    }
                ),
                "space": self.space.model_copy(
                    update={
                        "name": absolute_file(self.space.name),
                        "recipe": absolute_file(self.space.recipe),
                        "initial_points": absolute(self.space.initial_points),
                        "initial_weights": tuple(absolute(one, RUN) for one in self.space.initial_weights),
                        "pretrained_root": absolute(self.space.pretrained_root),
                    }
                ),
                "sampler": sampler.model_copy(update={"name": absolute_file(sampler.name)}),
                "target": self.target.model_copy(
                    update={
                        "latency_table": absolute(self.target.latency_table),
                        "cache": absolute(self.target.cache),
                    }
                ),
                "resources": resources.model_copy(update={"storage": absolute(resources.storage, _SQLITE_FILE)}),
            }
        )

    @field_validator("objectives")
    @classmethod
    def _a_trade_off(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_objectives(value)
        for name in value:
            if name in AFTER_TRAINING:
                raise broken_rule(
                    f"'{name}' is known after the search only; search for gap_points, then run `nas_distill quantise`",
                    code="config.objective_after_training",
                    field="objectives",
                )
        return value
