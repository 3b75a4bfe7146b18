"""What a worker is told, and what all trials of a run share. No Ray, no Optuna."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt

from nas_distill.config import LOCAL_DIR, DataConfig, ExecutionConfig
from nas_distill.data.manifest import DataManifest
from nas_distill.data.splits import open_split
from nas_distill.frozen import Record
from nas_distill.knowledge.store import Knowledge
from nas_distill.knowledge.targets import OnlineTargets, StoredTargets, Targets
from nas_distill.models.preprocess import Preprocess
from nas_distill.models.teacher import load_teacher
from nas_distill.records import (
    Cost,
    Recipe,
    StudentSpec,
    TeacherRecord,
)
from nas_distill.store import RunDirectory
from nas_distill.train.evaluation import Reference
from nas_distill.train.loop import TrainingData


class Assignment(Record):
    """What a worker is told to do.

    Attributes:
        number: Optuna's trial number.
        seed: Of initial weights, order of images and dropout.
        spec: The candidate.
        recipe: How to distil it.
        cost: What the candidate costs.
    """

    number: NonNegativeInt
    seed: NonNegativeInt
    spec: StudentSpec
    recipe: Recipe
    cost: Cost


class Workplace(Record):
    """Where a worker finds what all trials of a run share.

    Attributes:
        run: The run directory, on a path that every node sees.
        data: How the images are read.
        knowledge_id: Folder name of the teacher's stored answers.
        threads: Threads that torch may use.
        cuda: Train on the first visible GPU.
        execution: How networks are run in training.
        checkpoint_interval_s: Seconds of training between a trial's checkpoints.
    """

    run: str
    data: DataConfig
    knowledge_id: str
    threads: int
    cuda: bool
    execution: ExecutionConfig = Field(default_factory=ExecutionConfig)
    checkpoint_interval_s: NonNegativeFloat = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialContext:
    """What all trials of a run share, opened once per process.

    Attributes:
        manifest: What the images are.
        data: Splits, views and preprocessing.
        targets: Where the teacher's answers to views come from.
        reference: The teacher's answers to plain images.
        teacher: The teacher's record.
        device: Where to train.
        execution: How networks are run there.
        checkpoint_interval_s: Seconds of training between a trial's checkpoints.
    """

    manifest: DataManifest
    data: TrainingData
    targets: Targets
    reference: Reference
    teacher: TeacherRecord
    device: torch.device
    execution: ExecutionConfig
    checkpoint_interval_s: float


def open_context(workplace: Workplace) -> TrialContext:
    """Opens data, knowledge and, when it answers online, the teacher.

    Raises:
        RunError: Part of the run directory is missing or damaged.
    """
    run = RunDirectory(Path(workplace.run))
    device = torch.device("cuda" if workplace.cuda else "cpu")
    torch.set_num_threads(workplace.threads)
    torch.backends.cudnn.benchmark = True  # shapes hardly change within a trial
    train = open_split(workplace.data, run.path, "train")
    manifest = train.manifest
    knowledge = Knowledge(run.knowledge / workplace.knowledge_id)
    targets: Targets
    if knowledge.manifest.key.slabs:
        targets = StoredTargets(knowledge, device)
    else:
        teacher = load_teacher(
            f"{LOCAL_DIR}{run.teacher}",
            class_names=manifest.class_names,
            channels=manifest.channels,
            image_size=knowledge.manifest.key.teacher_image_size,
        )
        targets = OnlineTargets(teacher.to(device))
    validation = open_split(workplace.data, run.path, "validation")
    return TrialContext(
        manifest=manifest,
        data=TrainingData(
            train=train,
            validation=validation,
            plan=knowledge.manifest.key.plan,
            preprocess=Preprocess(mean=manifest.mean, std=manifest.std),
        ),
        targets=targets,
        reference=Reference.of(knowledge.reference(), validation.labels, device),
        teacher=run.read_teacher(),
        device=device,
        execution=workplace.execution,
        checkpoint_interval_s=workplace.checkpoint_interval_s,
    )
