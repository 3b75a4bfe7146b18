"""Train one student in a worker process of `benchmarks.common.pool`.

Each process uses a fixed number of threads, and loads data, stored teacher outputs and teacher once.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from pydantic import PositiveInt

from benchmarks.common.materials import Material
from benchmarks.common.tasks import Result, Task
from nas_distill.config import DataConfig, ExecutionConfig
from nas_distill.knowledge.store import Knowledge
from nas_distill.knowledge.targets import OnlineTargets, StoredTargets, Targets
from nas_distill.losses.registry import uses_teacher_head
from nas_distill.models.teacher import Teacher, load_teacher
from nas_distill.records.base import Record
from nas_distill.train.calibration.network import calibrate
from nas_distill.train.evaluation import Reference, evaluate
from nas_distill.train.evaluator import logits_function
from nas_distill.train.loop import Trainer
from nas_distill.train.metrics import gap_points
from nas_distill.train.training_data import TrainingData

EXECUTIONS = {
    "fast": ExecutionConfig(precision="bfloat16", memory_format="channels_last", attention="fused"),
    "float32": ExecutionConfig(precision="float32", memory_format="channels_last", attention="fused"),
    "plain": ExecutionConfig().without_probe(),
}
"""Precision, memory format and attention, by the value of `--execution`."""

_WATCHED_IMAGES = 256
"""Validation images measured after each epoch to detect NaN; measuring all would take a fifth of the training time."""


class SharedInputs(Record):
    """Inputs that all trainings share, in a form that can be sent to a process.

    Attributes:
        folder: Folder of the prepared data.
        data: Configuration of the data.
        knowledge: Folder of the teacher's stored outputs.
        teacher: Location of the teacher, `local-dir:PATH`.
        device: Device of all trainings.
        threads: Torch threads per process.
    """

    folder: Path
    data: DataConfig
    knowledge: Path
    teacher: str
    device: str
    threads: PositiveInt


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedInputs:
    """`SharedInputs` as loaded by one process."""

    material: Material
    knowledge: Knowledge
    reference: Reference
    device: torch.device


def add_execution_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--execution`, which names one of `EXECUTIONS`."""
    parser.add_argument(
        "--execution",
        choices=tuple(EXECUTIONS),
        default="fast",
        help="fast: bfloat16; float32: several times faster than fast on CPUs without bfloat16 instructions; "
        "plain: PyTorch's defaults  [default: %(default)s]",
    )


def train(task: Task, inputs: SharedInputs) -> Result:
    """Train one student in this process; all of validation is measured after the last epoch only."""
    material = load_inputs(inputs).material
    head = open_teacher(inputs).head() if uses_teacher_head(task.recipe) else None
    return train_network(material.network(task.student, task.seed, head), task, inputs)


def train_network(network: torch.nn.Module, task: Task, inputs: SharedInputs) -> Result:
    """Train a student that is built already, and measure it like `train`."""
    loaded = load_inputs(inputs)
    trainer, seconds = train_data(network, loaded.material.training_data(task.plan), task, inputs)
    return measured(trainer, loaded, seconds)


def train_data(network: torch.nn.Module, data: TrainingData, task: Task, inputs: SharedInputs) -> tuple[Trainer, float]:
    """Train a student on some of the images, and return its trainer and the wall time of all epochs."""
    loaded = load_inputs(inputs)
    watched = torch.arange(min(_WATCHED_IMAGES, data.validation.num_images))
    trainer = Trainer(
        network,
        recipe=task.recipe,
        data=replace(data, validation_indices=watched),
        targets=targets(task, inputs),
        reference=None,
        seed=task.seed,
        device=loaded.device,
        execution=task.execution,
    )
    seconds = 0.0
    while not trainer.is_finished():
        seconds += trainer.run_epoch().wall_time_s
    return trainer, seconds


def measured(trainer: Trainer, loaded: LoadedInputs, seconds: float) -> Result:
    """Calibrate a trained student and measure it in the same way as a search."""
    network, material, reference = trainer.finish(), loaded.material, loaded.reference
    validation = material.validation
    logits = logits_function(network, material.preprocess, trainer.memory_format)
    calibrated = calibrate(network, logits, validation, preprocess=material.preprocess, device=loaded.device)
    before, sums = (
        evaluate(logits, validation, device=loaded.device, teacher_logits=reference.validation, factor=factor)
        for factor in (calibrated.undoing, calibrated.cross_fitting(validation.num_images))
    )
    plain, found, compared = before.metrics(), sums.metrics(), sums.comparison()
    return Result(
        top1=found.top1,
        gap_points=gap_points(reference.teacher.top1, found.top1),
        nll_nats=found.nll_nats,
        ece=found.ece,
        uncalibrated_nll_nats=plain.nll_nats,
        uncalibrated_ece=plain.ece,
        agreement=compared.agreement,
        divergence_nats=compared.divergence_nats,
        seconds=seconds,
        num_params=sum(parameter.numel() for parameter in network.parameters()),
        released=trainer.released_classes,
    )


def targets(task: Task, inputs: SharedInputs) -> Targets:
    """Return the source of the teacher's outputs for a task."""
    loaded = load_inputs(inputs)
    if not task.online:
        return StoredTargets(loaded.knowledge, loaded.device)
    return OnlineTargets(open_teacher(inputs).to(loaded.device))


@cache
def load_inputs(inputs: SharedInputs) -> LoadedInputs:
    """Load the shared inputs, once per process."""
    torch.set_num_threads(inputs.threads)
    torch.backends.cudnn.benchmark = True
    device = torch.device(inputs.device)
    material = Material.open(inputs.data, inputs.folder)
    knowledge = Knowledge(inputs.knowledge)
    return LoadedInputs(
        material=material,
        knowledge=knowledge,
        reference=Reference.from_store(knowledge.reference(), material.validation.labels, device),
        device=device,
    )


@cache
def open_teacher(inputs: SharedInputs) -> Teacher:
    """Load the teacher, once per process."""
    manifest = load_inputs(inputs).material.manifest
    return load_teacher(inputs.teacher, class_names=manifest.class_names, channels=manifest.channels)
