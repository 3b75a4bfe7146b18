"""Trainings by several processes at once.

Each process runs its networks on a fixed number of threads and opens data, stored answers and teacher once.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from _common import commit
from _ledger import Ledger, Outcome, Result, ResultT, Task
from _materials import Material
from pydantic import PositiveInt

from nas_distill.config import DataConfig
from nas_distill.errors import NasDistillError
from nas_distill.frozen import Record
from nas_distill.knowledge.store import Knowledge
from nas_distill.knowledge.targets import OnlineTargets, StoredTargets, Targets
from nas_distill.losses.registry import through_teacher
from nas_distill.models.teacher import Teacher, load_teacher
from nas_distill.train.evaluation import Reference, evaluate
from nas_distill.train.loop import Trainer
from nas_distill.train.metrics import gap_points

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


def run_all(
    tasks: Sequence[Task],
    place: Place,
    *,
    processes: int,
    ledger: Ledger[ResultT],
    work: Callable[[Task, Place], ResultT],
) -> Iterator[tuple[Task, Outcome[ResultT]]]:
    """Yields each task with how its training ended, in the order in which they end; those of the ledger come first.

    Args:
        tasks: In the order in which they are begun.
        place: What they share.
        processes: Trainings at once.
        ledger: Of what is finished already; what ends well is added.
        work: Trains one in a process, such as `train`.
    """
    missing = []
    for task in tasks:
        outcome = ledger.get(task)
        if outcome is None:
            missing.append(task)
        else:
            yield task, outcome
    if not missing:
        return
    code = commit()
    pool = ProcessPoolExecutor(min(processes, len(missing)), mp_context=multiprocessing.get_context("spawn"))
    try:
        begun = {pool.submit(work, task, place): task for task in missing}
        for future in as_completed(begun):
            outcome = _outcome(future, begun[future], code)
            if not outcome.error:
                ledger.add(outcome)
            yield begun[future], outcome
    finally:
        pool.shutdown(cancel_futures=True)


def _outcome(future: Future[ResultT], task: Task, code: str) -> Outcome[ResultT]:
    error = future.exception()
    if error is None:
        return Outcome(key=task.digest(), commit=code, result=future.result())
    if isinstance(error, BrokenProcessPool):
        return Outcome(key=task.digest(), commit=code, error="a process died, and the others were stopped")
    if not isinstance(error, NasDistillError):
        traceback.print_exception(error)
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
    kind = "" if isinstance(error, NasDistillError) else f"{type(error).__name__}: "
    return Outcome(key=task.digest(), commit=code, error=kind + reason)


def train(task: Task, place: Place) -> Result:
    """Trains one student in this process; only the last epoch is measured on all of validation."""
    opened = open_place(place)
    material = opened.material
    watched = torch.arange(min(_WATCHED_IMAGES, material.validation.num_images))
    head = open_teacher(place).head() if through_teacher(task.recipe) else None
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
        leave_if_orphaned()
        seconds += trainer.run_epoch().wall_time_s
    return measured(trainer, opened, seconds)


def leave_if_orphaned() -> None:
    """Ends this process when the one that waits for its training is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)


def measured(trainer: Trainer, opened: Opened, seconds: float) -> Result:
    """Measures a trained student as a search does."""
    network, material, reference = trainer.keep(), opened.material, opened.reference
    tally = evaluate(
        lambda images: network(material.preprocess(images)),
        material.validation,
        device=opened.device,
        teacher_logits=reference.validation,
    )
    top1, compared = tally.answers().top1, tally.comparison()
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
        reference=Reference.of(knowledge.reference(), material.validation.labels, device),
        device=device,
    )


@cache
def open_teacher(place: Place) -> Teacher:
    """Opens the teacher, once per process."""
    manifest = open_place(place).material.manifest
    return load_teacher(place.teacher, class_names=manifest.class_names, channels=manifest.channels)
