"""Students that are constructed to have a known verdict, trained on digits without Ray."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch

import nas_distill.models  # noqa: F401 - registers the entrypoints
from nas_distill.analysis.diagnosis.verdicts import Verdict
from nas_distill.analysis.trials.study_reader import StudySnapshot, read_study
from nas_distill.callbacks import NullProgress
from nas_distill.config import LOCAL_DIR, DataConfig, SearchConfig, ViewsConfig
from nas_distill.config.loading import dump_config
from nas_distill.data.prepare import prepare_data
from nas_distill.data.splits import open_split
from nas_distill.data.views.plan import plan_views
from nas_distill.knowledge.build import build_knowledge
from nas_distill.knowledge.layout import OutputStorage
from nas_distill.models.costs.cost import measure_cost
from nas_distill.models.teacher import load_teacher
from nas_distill.records import Recipe, StudentSpec, TrialRecord
from nas_distill.records.task import TRIAL_SCHEMA_VERSION, TrialTask, source_name
from nas_distill.run_directory.files import write_text
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.trial_folder import TrialFolder
from nas_distill.train.teacher import fit_teacher
from nas_distill.trial.context import TrialContext, WorkerConfig, open_context
from nas_distill.trial.run import run_trial

CPU = torch.device("cpu")
EPOCHS = 40
SCARCE_IMAGES = 50

_TEACHER = {"widths": (24, 48, 96), "depths": (1, 1, 1)}
_KD: Mapping[str, Any] = {"losses": {"kd": {"weight": 0.9, "temperature": 4.0}}, "label_weight": 0.1}
_GOOD = Recipe(epochs=EPOCHS, **_KD)
_WEAK = Recipe(epochs=EPOCHS, batch_size=16, weight_decay=0.0, losses={"kd": {"weight": 0.1, "temperature": 4.0}})
_BAD = Recipe(epochs=EPOCHS, losses={"rkd": {"weight": 1000.0}}, label_weight=1e-5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """One training.

    Attributes:
        spec: Architecture of the student.
        recipe: Recipe of the student.
        truth: Verdict that the student is constructed for; None for a student that others are compared with.
    """

    spec: StudentSpec
    recipe: Recipe
    truth: Verdict | None = None


def resnet(*widths: int) -> StudentSpec:
    """Return a small ResNet of one block per width."""
    return StudentSpec(
        architecture="small_resnet", arguments={"widths": widths, "depths": (1,) * len(widths)}, family="resnet"
    )


def blind_vit(width: int) -> StudentSpec:
    """Return a ViT whose only patch is the whole 8x8 image, so that attention has no effect."""
    arguments = {"patch_size": 8, "embed_dim": width, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0}
    return StudentSpec(architecture="vit_tiny_patch16_224", arguments=arguments, family="vit of one patch")


PLENTY = (
    Student(spec=resnet(2, 3), recipe=_GOOD, truth="under_capacity"),
    Student(spec=resnet(4, 8), recipe=_GOOD),
    Student(spec=resnet(8, 16), recipe=_GOOD, truth="matched"),
    Student(spec=resnet(8, 16), recipe=_BAD, truth="loss_mismatch"),
    Student(spec=resnet(12, 24), recipe=_GOOD),
    Student(spec=resnet(10, 20), recipe=_GOOD.model_copy(update={"epochs": 4}), truth="undertrained"),
    Student(spec=blind_vit(24), recipe=_GOOD, truth="architecture_mismatch"),
)
"""Students that are trained on all digits."""

SCARCE = (
    Student(spec=resnet(4, 8), recipe=_WEAK),
    Student(spec=resnet(12, 24), recipe=_WEAK),
    Student(spec=resnet(24, 48), recipe=_WEAK, truth="over_capacity"),
)
"""Students that are trained on fifty digits, without weight decay or augmentation, mostly by labels."""


def train_cases(folder: Path, seed: int) -> Iterator[tuple[Student, TrialRecord, RunDirectory]]:
    """Train all students of a seed; the seed decides splits, teacher and weights.

    Yields:
        Student, record of its training, and run directory.
    """
    plenty = Site(folder / "plenty", DataConfig(split_seed=seed), ViewsConfig(), seed)
    yield from plenty.train(PLENTY)
    few = DataConfig(split_seed=seed, max_train_images=SCARCE_IMAGES)
    scarce = Site(folder / "scarce", few, ViewsConfig(count=1, crop_padding=0), seed, teacher=plenty.run.teacher)
    yield from scarce.train(SCARCE)


def as_study(run: RunDirectory, records: list[TrialRecord]) -> StudySnapshot:
    """Write records into the run's study as a search does, and read it as the report does."""
    write_text(run.config, dump_config(SearchConfig()))
    study = optuna.create_study(study_name="nas_distill", storage=run.own_storage, directions=["minimize"] * 2)
    study.set_user_attr("schema_version", TRIAL_SCHEMA_VERSION)
    study.set_user_attr("teacher", run.read_teacher().model_dump_json())
    for record in records:
        attributes = {"task": record.task.model_dump_json(), "result": record.result().model_dump_json()}
        if record.metrics is None:
            study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, user_attrs=attributes))
        else:
            values = [record.metrics.gap_points, record.cost.num_params]
            study.add_trial(optuna.trial.create_trial(values=values, user_attrs=attributes))
    return read_study(run)


class Site:
    """A run directory with data, teacher and stored outputs.

    Args:
        path: Run directory.
        data: Configuration of the images.
        views: Augmentation.
        seed: Seed of teacher and students.
        teacher: Folder of a trained teacher. Default: a small ResNet is trained on the training images.
        teacher_epochs: Epochs of that training.
    """

    def __init__(
        self, path: Path, data: DataConfig, views: ViewsConfig, seed: int, *, teacher: Path | None = None,
        teacher_epochs: int = 15,
    ) -> None:  # fmt: skip
        self.run = RunDirectory(path)
        self._seed = seed
        manifest = prepare_data(data, path, NullProgress())
        splits = open_split(data, path, "train"), open_split(data, path, "validation")
        if (self.run.teacher / "metrics.json").exists():
            pass  # an earlier measurement in this folder
        elif teacher is None:
            recipe = Recipe(losses={}, label_smoothing=0.05, epochs=teacher_epochs, learning_rate=4e-3)
            fit_teacher(
                "small_resnet", self.run.teacher, arguments=_TEACHER, recipe=recipe, splits=splits, views=views,
                seed=seed, device=CPU, progress=NullProgress(),
            )  # fmt: skip
        else:
            self.run.teacher.parent.mkdir(parents=True, exist_ok=True)
            self.run.teacher.symlink_to(teacher.resolve())
        network = load_teacher(
            f"{LOCAL_DIR}{self.run.teacher}", class_names=manifest.class_names, channels=manifest.channels
        )
        knowledge = build_knowledge(
            network, train=splits[0], validation=splits[1],
            plan=plan_views(views, manifest, epochs=EPOCHS, online=False), online=False, root=self.run.knowledge,
            device=CPU, progress=NullProgress(), storage=OutputStorage(embeddings=True),
        )  # fmt: skip
        sources = {source_name(None, "none"): knowledge.folder.name}
        self.manifest = manifest
        self._context: TrialContext = open_context(
            WorkerConfig(run=str(path), data=data, knowledge=sources, threads=1, cuda=False, checkpoint_interval_s=1e9)
        )

    def train(self, students: tuple[Student, ...]) -> Iterator[tuple[Student, TrialRecord, RunDirectory]]:
        """Train students one after the other, numbered in this order."""
        for number, student in enumerate(students):
            yield student, self.train_one(student, number, seed=1000 * self._seed + number), self.run

    def train_one(self, student: Student, number: int, *, seed: int) -> TrialRecord:
        """Train a student.

        Args:
            student: The student.
            number: Trial number.
            seed: Seed of initial weights and image order.
        """
        cost = measure_cost(
            student.spec, num_classes=len(self.manifest.class_names), channels=self.manifest.channels,
            image_size=self.manifest.image_size,
        )  # fmt: skip
        task = TrialTask(number=number, seed=seed, spec=student.spec, recipe=student.recipe, cost=cost)
        return run_trial(task, self._context, TrialFolder(self.run.trials / f"{number:05d}"))
