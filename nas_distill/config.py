"""`SearchConfig`: everything that decides a search, validated when it is built.

Reading it from YAML, flags and `--set` is `config_io`'s job.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from nas_distill.frozen import FrozenArguments, Record
from nas_distill.objectives import check_objectives
from nas_distill.records import Recipe

LOCAL_DIR = "local-dir:"
"""Begins a teacher that is a folder of timm's making."""

FOLDER = "folder:"
"""Begins a data source that is a folder of images."""

_SQLITE_FILE = "sqlite:///"
_OWN_SPACE = re.compile(r".+\.py(:\w+)?")

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]


class DataConfig(Record):
    """The images.

    Attributes:
        source: `digits` (embedded), `folder:PATH` (one folder per class, or train/, val/ and test/ of them), or a
            name of timm's `create_dataset` (`torch/cifar10`, `hfds/...`).
        root: Folder in which timm's data sets are looked for.
        image_size: Height and width in pixels to which images are brought; by default their own, if all agree.
        channels: 1 (grey) or 3 (RGB); by default as the images are.
        validation_fraction: Share of the training images held out when there is no validation split.
        test_fraction: Share of all images set aside when there is no test split.
        split_seed: Seed of the splits; apart from the search's, so that all searches see the same splits.
        max_train_images: Stratified cap on the training split; none by default.
        max_validation_images: Stratified cap on the validation split; none by default.
        memory_budget_mib: Decoded images up to this size are kept as memory-mapped uint8; larger data are decoded
            by loader workers.
        workers: Loader processes per trial, for data over the memory budget.
        download: Let timm's data set fetch its files.
    """

    source: Annotated[str, Field(min_length=1)] = "digits"
    root: str | None = None
    image_size: Annotated[int, Field(ge=4, le=1024)] | None = None
    channels: Annotated[int, Field(ge=1, le=3)] | None = None
    validation_fraction: Fraction = 0.2
    test_fraction: Fraction = 0.2
    split_seed: NonNegativeInt = 0
    max_train_images: PositiveInt | None = None
    max_validation_images: PositiveInt | None = None
    memory_budget_mib: PositiveInt = 4096
    workers: NonNegativeInt = 2
    download: bool = False

    @field_validator("channels")
    @classmethod
    def _grey_or_rgb(cls, value: int | None) -> int | None:
        if value == 2:
            raise ValueError("must be 1 (grey) or 3 (RGB)")
        return value


class ViewsConfig(Record):
    """Deterministic augmentation, shared by teacher and students.

    Attributes:
        count: Views per image; by default min(epochs, epochs/3 rounded up to a multiple of 8).
        crop_padding: Largest shift of the random crop, pixels; by default an eighth of the image size.
        flip: Mirror half of the views; by default for RGB images only (letters and digits do not mirror).
        seed: Seed of the views; apart from the search's, so that all searches share the teacher's answers.
    """

    count: PositiveInt | None = None
    crop_padding: NonNegativeInt | None = None
    flip: bool | None = None
    seed: NonNegativeInt = 0


def default_teacher_recipe() -> Recipe:
    """Returns the recipe of `nas_distill teacher`: labels only, light smoothing, best epoch kept."""
    return Recipe(
        losses={}, label_weight=1.0, label_smoothing=0.05, epochs=30, learning_rate=3e-3, weight_decay=0.05,
        ema_decay=0.99, early_stopping_patience=10,
    )  # fmt: skip


class TeacherConfig(Record):
    """The fixed network that is distilled.

    Attributes:
        model: A timm name (give `checkpoint` too), or `local-dir:PATH`. With `digits` only, none trains one first.
        arguments: Constructor arguments for a timm name.
        checkpoint: Weights for a timm name: `.safetensors`, or a pickle with `trust_pickle`.
        trust_pickle: Open pickled weights; a pickle can run any code.
        image_size: Pixels at which it is asked; by default its own `input_size`. Views are resized to it.
        online: Ask the teacher at every step instead of storing its answers.
        recipe: How a teacher is trained, when one is.
    """

    model: str | None = None
    arguments: FrozenArguments = Field(default_factory=dict)
    checkpoint: str | None = None
    trust_pickle: bool = False
    image_size: PositiveInt | None = None
    online: bool = False
    recipe: Recipe = Field(default_factory=default_teacher_recipe)


class SpaceConfig(Record):
    """The candidates.

    Attributes:
        name: A shipped space, or `FILE.py[:function]`.
        max_params: Candidates with more parameters are refused before training.
        max_macs: Candidates with more multiply-accumulates per image are refused before training.
        allow_larger_than_teacher: Train students with a capacity ratio of 1 or more.
    """

    name: Annotated[str, Field(min_length=1)] = "tiny"
    max_params: PositiveInt | None = None
    max_macs: PositiveInt | None = None
    allow_larger_than_teacher: bool = False


class BudgetConfig(Record):
    """How much is tried.

    Attributes:
        trials: Trials to train, refused candidates not counted.
        max_refusals: Candidates refused in a row before the space is declared infeasible.
    """

    trials: PositiveInt = 16
    max_refusals: PositiveInt = 200


class ResourcesConfig(Record):
    """Where and how wide the trials run.

    Attributes:
        cpus_per_trial: CPU slots (and torch threads) per trial.
        gpus_per_trial: GPUs per trial; a fraction packs several trials on one.
        max_parallel_trials: Upper bound on trials at once; by default what the cluster holds.
        address: A running Ray cluster to join (`auto`, or `HOST:PORT`); by default a local one is started.
        max_failures: How often a trial is started again after its worker died.
        storage: Optuna storage URL; by default SQLite in the run directory. It stands in the run's configuration in
            clear text: leave a password to the database's own means, such as PGPASSFILE.
        study_name: Name of the study there; by default one that no other run has.
    """

    cpus_per_trial: PositiveFloat = 1.0
    gpus_per_trial: NonNegativeFloat = 0.0
    max_parallel_trials: PositiveInt | None = None
    address: str | None = None
    max_failures: NonNegativeInt = 2
    storage: str | None = None
    study_name: Annotated[str, Field(min_length=1)] = "nas_distill"

    @field_validator("cpus_per_trial", "gpus_per_trial")
    @classmethod
    def _whole_above_one(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError("must be a whole number above 1, or a fraction below it: Ray divides nothing else")
        return value


class PicksConfig(Record):
    """How students are picked from the front.

    Attributes:
        gap_tolerance_points: The smallest student with a gap up to this is picked, percentage points.
    """

    gap_tolerance_points: float = 1.0


class SearchConfig(Record):
    """Everything that decides a search.

    Attributes:
        data: The images.
        views: Deterministic augmentation.
        teacher: The fixed network.
        space: The candidates.
        objectives: Two to four names; see `objectives`.
        budget: How much is tried.
        recipe: How each student is distilled.
        resources: Where and how wide.
        picks: How students are picked.
        seed: Of proposals, initial weights and order of images.
    """

    data: DataConfig = Field(default_factory=DataConfig)
    views: ViewsConfig = Field(default_factory=ViewsConfig)
    teacher: TeacherConfig = Field(default_factory=TeacherConfig)
    space: SpaceConfig = Field(default_factory=SpaceConfig)
    objectives: tuple[str, ...] = ("gap_points", "num_params")
    budget: BudgetConfig = Field(default_factory=BudgetConfig)
    recipe: Recipe = Field(default_factory=Recipe)
    resources: ResourcesConfig = Field(default_factory=ResourcesConfig)
    picks: PicksConfig = Field(default_factory=PicksConfig)
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _teacher_is_known(self) -> Self:
        if self.teacher.model is None and self.data.source != "digits":
            raise ValueError(
                f"teacher.model is not given, and only 'digits' comes with a teacher recipe (data.source is "
                f"'{self.data.source}'); train one with `nas_distill teacher`, then pass --teacher local-dir:PATH"
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
            path = text.removeprefix(prefix)
            # SQLite's other names for databases, such as :memory:, are no paths.
            return prefix + str((base / Path(path).expanduser()).resolve()) if path[:1] != ":" else text

        data, teacher, name, resources = self.data, self.teacher, self.space.name, self.resources
        return self.model_copy(
            update={
                "data": data.model_copy(update={"source": anchor(data.source, FOLDER), "root": anchor(data.root)}),
                "teacher": teacher.model_copy(
                    update={
                        "model": anchor(teacher.model, LOCAL_DIR),
                        "checkpoint": anchor(teacher.checkpoint),
                    }
                ),
                "space": self.space.model_copy(update={"name": anchor(name) if _OWN_SPACE.fullmatch(name) else name}),
                "resources": resources.model_copy(update={"storage": anchor(resources.storage, _SQLITE_FILE)}),
            }
        )

    @field_validator("objectives")
    @classmethod
    def _a_trade_off(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_objectives(value)
        return value
