"""Full learning curves of random candidates: drawing the candidates, training and measuring them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution, distribution_to_json
from pydantic import NonNegativeFloat, NonNegativeInt
from torch import nn

from benchmarks.common.cost_estimator import cost_of
from benchmarks.common.space_context import context_of
from benchmarks.common.tasks import Task, TaskResult
from benchmarks.common.trainings import SharedInputs, load_inputs, targets
from nas_distill.errors import SpaceError, TrialError
from nas_distill.records import Cost, EpochMetrics, Recipe, SpaceContext, StudentSpec
from nas_distill.records.base import FrozenArguments, FrozenTexts, Record
from nas_distill.records.network_shape import NetworkShape
from nas_distill.records.recipe import RecipeChoices
from nas_distill.search.proposal.limits import Limits
from nas_distill.search.spaces.loading import Space, propose
from nas_distill.search.spaces.recipes import RecipeSpace, propose_recipe
from nas_distill.train.evaluation import evaluate
from nas_distill.train.execution import torch_memory_format
from nas_distill.train.loop import Trainer
from nas_distill.train.metrics import gap_points

_DRAWS_PER_CANDIDATE = 50


class Candidate(Record):
    """One candidate with its recipe.

    Attributes:
        number: Number of the candidate, from 0, in the order of drawing.
        parameters: Parameters that the sampler chose, by name.
        distributions: Distributions that it chose them from, by name, as Optuna's JSON.
        spec: Architecture of the candidate.
        recipe: Recipe of the training.
        cost: Cost of the candidate.
    """

    number: NonNegativeInt
    parameters: FrozenArguments
    distributions: FrozenTexts
    spec: StudentSpec
    recipe: Recipe
    cost: Cost


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


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateSource:
    """Everything that candidates are drawn from: spaces, base recipe, limits, shape and the teacher's cost."""

    space: Space
    recipes: RecipeSpace
    base: Recipe
    choices: RecipeChoices
    limits: Limits
    shape: NetworkShape
    teacher: Cost

    @property
    def context(self) -> SpaceContext:
        """Data, teacher and limits, for the space."""
        return context_of(self.shape, self.teacher, self.limits)


def draw(source: CandidateSource, *, count: int, seed: int) -> list[Candidate]:
    """Draw distinct candidates within the limits, independently and uniformly.

    The first candidates do not depend on `count`.

    Raises:
        SpaceError: The space has too few candidates within its limits.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    found: dict[tuple[str, str], Candidate] = {}
    for _ in range(_DRAWS_PER_CANDIDATE * count):
        trial = study.ask()
        spec = propose(source.space, trial, source.context)
        recipe = propose_recipe(source.recipes, trial, source.base, source.choices)
        cost = _cost(spec, source.shape)
        key = spec.spec_id, recipe.digest()
        if cost is None or source.limits.rejection(cost) is not None or key in found:
            continue
        found[key] = Candidate(
            number=len(found),
            parameters=trial.params,
            distributions=_as_json(trial.distributions),
            spec=spec,
            recipe=recipe,
            cost=cost,
        )
        if len(found) == count:
            return list(found.values())
    raise SpaceError(
        f"space '{source.space.name}' has only {len(found)} candidates within the limits; draw fewer",
        code="space.exhausted",
    )


def _cost(spec: StudentSpec, shape: NetworkShape) -> Cost | None:
    try:
        return cost_of(spec, shape)
    except SpaceError:
        return None


def _as_json(distributions: Mapping[str, BaseDistribution]) -> dict[str, str]:
    return {name: distribution_to_json(distribution) for name, distribution in distributions.items()}


def training_seed(seed: int, candidate: int, replicate: int) -> int:
    """Return the seed of one training, for initial weights, image order and dropout."""
    return int(np.random.SeedSequence((seed, candidate, replicate)).generate_state(1)[0])


def train_curve(task: Task, inputs: SharedInputs) -> Curve:
    """Train one student for all epochs in this process, and measure evaluated and trained weights after each.

    The recipe's early stopping is not applied here, but by the reader of the curve (`curve_table.ended`). The schedule
    of the learning rate does not depend on it, so the epochs before it are the same.
    """
    loaded = load_inputs(inputs)
    material, recipe = loaded.material, task.recipe.model_copy(update={"early_stopping_patience": 0})
    network = material.network(task.student, task.seed)
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
