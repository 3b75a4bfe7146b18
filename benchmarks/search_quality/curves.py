"""Full learning curves of candidates: training and measuring them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from pydantic import NonNegativeFloat
from torch import nn

from benchmarks.common.tasks import Task, TaskResult
from benchmarks.common.trainings import SharedInputs, load_inputs, open_teacher, targets
from nas_distill.errors import TrialError
from nas_distill.models.weight_selection import CutOptions, initialise_from_teacher
from nas_distill.records import FROM_TEACHER, EpochMetrics, Recipe
from nas_distill.train.evaluation import evaluate
from nas_distill.train.execution import torch_memory_format
from nas_distill.train.loop import Trainer
from nas_distill.train.metrics import gap_points
from nas_distill.trial.cut_images import cut_images


class Curve(TaskResult):
    """Validation metrics of one training, one value per epoch; shorter than the recipe's epochs if it failed.

    Attributes:
        gap_points: Gap of the evaluated weights: the moving average if the recipe has one.
        raw_gap_points: Gap of the trained weights.
        divergence_nats: Divergence of the evaluated weights from the teacher.
        nll_nats: Negative log-likelihood of the evaluated weights; breaks ties between epochs.
        wall_time_s: Wall time of training and of measuring the evaluated weights.
        cpu_time_s: CPU time of the process for the same; independent of other programs on the machine.
        error: One-line reason of a failure; empty if the training succeeded.
    """

    gap_points: tuple[float, ...]
    raw_gap_points: tuple[float, ...]
    divergence_nats: tuple[NonNegativeFloat, ...]
    nll_nats: tuple[NonNegativeFloat, ...]
    wall_time_s: tuple[NonNegativeFloat, ...]
    cpu_time_s: tuple[NonNegativeFloat, ...]
    error: str = ""

    def summary(self) -> str:
        """Return the last gap and the times as text."""
        return self.error or (
            f"gap {self.gap_points[-1]:.2f} points in {sum(self.wall_time_s):.1f} s, {sum(self.cpu_time_s):.1f} of CPU"
        )


def training_seed(seed: int, candidate: int, replicate: int) -> int:
    """Return the seed of one training, for initial weights, image order and dropout."""
    return int(np.random.SeedSequence((seed, candidate, replicate)).generate_state(1)[0])


def train_curve(task: Task, inputs: SharedInputs) -> Curve:
    """Train one student for all epochs in this process, and measure evaluated and trained weights after each.

    The recipe's early stopping is not applied here, but by the reader of the curve (`curve_table.ended`). The schedule
    of the learning rate does not depend on it, so the epochs before it are the same.
    """
    loaded = load_inputs(inputs)
    material = loaded.material
    network, own_recipe = _with_initial_weights(task, inputs)
    recipe = own_recipe.model_copy(update={"early_stopping_patience": 0})
    trainer = Trainer(
        network,
        recipe=recipe,
        data=material.training_data(task.plan),
        targets=targets(task, inputs),
        reference=loaded.reference,
        seed=task.seed,
        device=loaded.device,
        execution=task.execution,
    )
    points: list[_Point] = []
    while not trainer.is_finished():
        began_s = time.process_time()
        try:
            metrics = trainer.run_epoch()
        except TrialError as error:
            return _curve(points, str(error).splitlines()[0])
        cpu_time_s = time.process_time() - began_s
        raw_gap = None if recipe.ema_decay == 0 else _raw_gap(network, trainer, inputs)
        points.append(_Point(metrics, raw_gap, cpu_time_s))
    return _curve(points)


def _with_initial_weights(task: Task, inputs: SharedInputs) -> tuple[nn.Module, Recipe]:
    """Return the student with its initial weights, and the recipe that a search trains it with."""
    material = load_inputs(inputs).material
    network = material.network(task.student, task.seed)
    if task.student.starts_from_random:
        return network, task.recipe
    assert task.student.initial_weights == FROM_TEACHER
    teacher, options = open_teacher(inputs), CutOptions()
    images = cut_images(material.training_data(task.plan), teacher) if options.need_images else None
    initialise_from_teacher(network, teacher.network, options=options, images=images)
    return network, task.recipe.for_fine_tuning()


class _Point(NamedTuple):
    """One epoch; the gap of the raw weights is None if these are the evaluated ones."""

    metrics: EpochMetrics
    raw_gap_points: float | None
    cpu_time_s: float

    def known(self, name: str) -> float:
        """Return a metric that is measured whenever there is a teacher."""
        value: float | None = getattr(self.metrics, name)
        assert value is not None
        return value


def _curve(points: Sequence[_Point], error: str = "") -> Curve:
    gaps = tuple(point.known("gap_points") for point in points)
    raw_gaps = (point.raw_gap_points for point in points)
    return Curve(
        gap_points=gaps,
        raw_gap_points=tuple(gap if raw is None else raw for gap, raw in zip(gaps, raw_gaps, strict=True)),
        divergence_nats=tuple(point.known("divergence_nats") for point in points),
        nll_nats=tuple(point.metrics.nll_nats for point in points),
        wall_time_s=tuple(point.metrics.wall_time_s for point in points),
        cpu_time_s=tuple(point.cpu_time_s for point in points),
        error=error,
    )


def _raw_gap(network: nn.Module, trainer: Trainer, inputs: SharedInputs) -> float:
    loaded = load_inputs(inputs)
    material, layout = loaded.material, torch_memory_format(trainer.execution)
    network.eval()  # the trainer resets the mode before the next epoch
    found = evaluate(
        lambda images: network(material.preprocess(images.contiguous(memory_format=layout))),
        material.validation,
        device=loaded.device,
    )
    with torch.no_grad():
        return gap_points(loaded.reference.teacher.top1, found.metrics().top1)
