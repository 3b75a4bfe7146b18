"""Small real things that many tests need."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

import nas_distill.models  # noqa: F401 - registers the entrypoints
from nas_distill.callbacks import NullProgress, SearchStatus
from nas_distill.config import LOCAL_DIR, DataConfig, ViewsConfig
from nas_distill.config.space import PERMISSIVE
from nas_distill.data.prepare import prepare_data
from nas_distill.data.splits import ImageSplit, open_split
from nas_distill.data.views.plan import ViewPlan, plan_views
from nas_distill.knowledge.build import build_knowledge
from nas_distill.models.costs.cost import measure_cost
from nas_distill.models.teacher import Teacher, load_teacher
from nas_distill.records import Cost, Recipe, SpaceContext, StudentSpec, TeacherShape, TrialTask
from nas_distill.records.task import source_name
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.train.teacher import fit_teacher
from nas_distill.trial.context import TrialInputs, WorkerConfig, open_context

CPU = torch.device("cpu")
SMALL_DATA = DataConfig(max_train_images=320, max_validation_images=160)
SMALL_TEACHER = {"widths": (12, 24), "depths": (1, 1)}
TINY_SPEC = StudentSpec(architecture="small_resnet", arguments={"widths": (4, 6), "depths": (1, 1)})


@dataclass
class Heard(NullProgress):
    """A watcher that remembers events and the last status."""

    events: list[tuple[str, str]] = field(default_factory=list)
    last_status: SearchStatus | None = None

    def event(self, kind: str, message: str) -> None:
        self.events.append((kind, message))

    def status(self, status: SearchStatus) -> None:
        self.last_status = status

    def texts(self, kind: str) -> list[str]:
        return [message for heard, message in self.events if heard == kind]


@dataclass(frozen=True)
class SmallRun:
    """A run directory with real digits, a real (briefly trained) teacher and its stored answers to four views."""

    run: RunDirectory
    data: DataConfig
    train: ImageSplit
    validation: ImageSplit
    teacher: Teacher
    plan: ViewPlan
    knowledge_id: str

    def worker_config(self, knowledge_id: str | None = None) -> WorkerConfig:
        return WorkerConfig(
            run=str(self.run.path),
            data=self.data,
            knowledge={source_name(None, "none"): knowledge_id or self.knowledge_id},
            threads=1,
            cuda=False,
        )


def make_small_run(folder: Path, data: DataConfig = SMALL_DATA, *, seed: int = 0) -> SmallRun:
    run = RunDirectory(folder)
    manifest = prepare_data(data, run.path, NullProgress())
    train, validation = open_split(data, run.path, "train"), open_split(data, run.path, "validation")
    fit_teacher(
        "small_resnet",
        run.teacher,
        arguments=SMALL_TEACHER,
        recipe=Recipe(losses={}, label_weight=1.0, epochs=6, batch_size=32, learning_rate=1e-2),
        splits=(train, validation),
        views=ViewsConfig(),
        seed=seed,
        device=CPU,
        progress=NullProgress(),
    )
    teacher = load_teacher(f"{LOCAL_DIR}{run.teacher}", class_names=manifest.class_names, channels=manifest.channels)
    plan = plan_views(ViewsConfig(count=4), manifest, epochs=4, online=False)
    knowledge = build_knowledge(
        teacher,
        train=train,
        validation=validation,
        plan=plan,
        online=False,
        root=run.knowledge,
        device=CPU,
        progress=NullProgress(),
    )
    return SmallRun(
        run=run,
        data=data,
        train=train,
        validation=validation,
        teacher=teacher,
        plan=plan,
        knowledge_id=knowledge.folder.name,
    )


def make_space_context(*, channels: int = 1, image_size: int = 8, **changes: Any) -> SpaceContext:
    """Return the context of a search whose teacher is a resnet18."""
    teacher = TeacherShape(
        architecture="resnet18",
        arguments={"layers": (2, 2, 2, 2), "channels": (64, 128, 256, 512)},
        num_params=11_181_642,
        macs=37_000_000,
        image_size=image_size,
    )
    values = {
        "num_classes": 10,
        "channels": channels,
        "image_size": image_size,
        "teacher": teacher,
        "licences": PERMISSIVE,
    }
    return SpaceContext(**{**values, **changes})


def make_task(
    number: int = 0, *, spec: StudentSpec = TINY_SPEC, recipe: Recipe | None = None, seed: int = 7
) -> TrialTask:
    return TrialTask(
        number=number,
        seed=seed,
        spec=spec,
        recipe=recipe or Recipe(epochs=4, batch_size=32, learning_rate=1e-2),
        cost=_cost(spec.model_dump_json()),
    )


@cache
def _cost(spec: str) -> Cost:
    return measure_cost(StudentSpec.model_validate_json(spec), num_classes=10, channels=1, image_size=8)


def open_trial_inputs(worker_config: WorkerConfig) -> TrialInputs:
    return open_context(worker_config).trial_inputs(make_task())


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Lets the kernel refuse every byte of a file beyond `size`, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
