"""One training in a process of a pool (`_pool.run_all`).

Each process runs its networks on a fixed number of threads and opens data, stored answers and teacher once.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from pydantic import PositiveInt

from benchmarks.common.ledger import Result, Task
from benchmarks.common.materials import Material
from nas_distill.config import DataConfig, ExecutionConfig
from nas_distill.knowledge.store import Knowledge
from nas_distill.knowledge.targets import OnlineTargets, StoredTargets, Targets
from nas_distill.losses.registry import uses_teacher_head
from nas_distill.models.teacher import Teacher, load_teacher
from nas_distill.records.base import Record
from nas_distill.train.evaluation import Reference, evaluate
from nas_distill.train.loop import Trainer
from nas_distill.train.metrics import gap_points

EXECUTIONS = {
    "fast": ExecutionConfig(precision="bfloat16", memory_format="channels_last", attention="fused"),
    "float32": ExecutionConfig(precision="float32", memory_format="channels_last", attention="fused"),
    "plain": ExecutionConfig().without_probe(),
}
"""How networks are run, by name."""

_WATCHED_IMAGES = 256
"""Of validation, after every epoch, where a network that went to NaN is noticed; all would cost a fifth of the time."""


class Place(Record):
    """Where a process finds what all trainings share.

    Attributes:
        folder: Of the prepared data.
        data: The images.
        knowledge: Folder of the teacher's stored answers.
        teacher: `local-dir:PATH`.
        device: Of all trainings.
        threads: Of torch, per process.
    """

    folder: Path
    data: DataConfig
    knowledge: Path
    teacher: str
    device: str
    threads: PositiveInt


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What a process opened at a `Place`."""

    material: Material
    knowledge: Knowledge
    reference: Reference
    device: torch.device


def add_execution_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--execution`, which names one of `EXECUTIONS`."""
    parser.add_argument(
        "--execution",
        choices=tuple(EXECUTIONS),
        default="fast",
        help="bfloat16; float32, on CPUs without instructions for bfloat16 several times faster; or PyTorch's defaults",
    )


def train(task: Task, place: Place) -> Result:
    """Trains one student in this process; only the last epoch is measured on all of validation."""
    opened = open_place(place)
    material = opened.material
    watched = torch.arange(min(_WATCHED_IMAGES, material.validation.num_images))
    head = open_teacher(place).head() if uses_teacher_head(task.recipe) else None
    trainer = Trainer(
        material.network(task.student, task.seed, head),
        recipe=task.recipe,
        data=replace(material.training_data(task.plan), validation_indices=watched),
        targets=targets(task, place),
        reference=None,
        seed=task.seed,
        device=opened.device,
        execution=task.execution,
    )
    seconds = 0.0
    while not trainer.is_finished():
        seconds += trainer.run_epoch().wall_time_s
    return measured(trainer, opened, seconds)


def measured(trainer: Trainer, opened: Opened, seconds: float) -> Result:
    """Measures a trained student as a search does."""
    network, material, reference = trainer.finish(), opened.material, opened.reference
    sums = evaluate(
        lambda images: network(material.preprocess(images)),
        material.validation,
        device=opened.device,
        teacher_logits=reference.validation,
    )
    top1, compared = sums.metrics().top1, sums.comparison()
    return Result(
        top1=top1,
        gap_points=gap_points(reference.teacher.top1, top1),
        agreement=compared.agreement,
        divergence_nats=compared.divergence_nats,
        seconds=seconds,
        num_params=sum(parameter.numel() for parameter in network.parameters()),
        released=trainer.released_classes,
    )


def targets(task: Task, place: Place) -> Targets:
    """Returns where the teacher's answers come from."""
    opened = open_place(place)
    if not task.online:
        return StoredTargets(opened.knowledge, opened.device)
    return OnlineTargets(open_teacher(place).to(opened.device))


@cache
def open_place(place: Place) -> Opened:
    """Opens what all trainings share, once per process."""
    torch.set_num_threads(place.threads)
    torch.backends.cudnn.benchmark = True
    device = torch.device(place.device)
    material = Material.open(place.data, place.folder)
    knowledge = Knowledge(place.knowledge)
    return Opened(
        material=material,
        knowledge=knowledge,
        reference=Reference.from_store(knowledge.reference(), material.validation.labels, device),
        device=device,
    )


@cache
def open_teacher(place: Place) -> Teacher:
    """Opens the teacher, once per process."""
    manifest = open_place(place).material.manifest
    return load_teacher(place.teacher, class_names=manifest.class_names, channels=manifest.channels)
