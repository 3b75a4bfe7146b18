"""nas_distill's search in the simulator: its proposer, study and early stopping, without Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from benchmarks.common.cost_estimator import AnalyticCostEstimator
from benchmarks.common.space_context import context_of
from benchmarks.search_quality.candidates import CandidateSource
from benchmarks.search_quality.curve_table import CurveTable, Floats, Row
from benchmarks.search_quality.simulator import EndedTrial, Proposal
from nas_distill.analysis.front.arithmetic import coordinates
from nas_distill.config import AshaConfig, SamplerConfig, SearchConfig, SpaceConfig, StoppedTrialValue, TeacherConfig
from nas_distill.objectives import Objective, check_objectives
from nas_distill.records import (
    RANDOM,
    EpochMetrics,
    ExecutionInfo,
    Recipe,
    StudentMetrics,
    TeacherShape,
    TrialOutcome,
    TrialRecord,
    TrialStatus,
    TrialTask,
)
from nas_distill.records.network_shape import NetworkShape
from nas_distill.search.early_stopping.asha import Decision, rung_epochs
from nas_distill.search.early_stopping.curves import make_asha
from nas_distill.search.proposal.limits import make_limits
from nas_distill.search.proposal.proposer import ExhaustedSpaceError, Proposer
from nas_distill.search.study.ledger import StudyLedger


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Search problem of a table: everything that searchers need to propose candidates like those of the table.

    Attributes:
        table: Table of learning curves.
        objectives: Objectives of the search.
        source: Source of the table's candidates.
    """

    table: CurveTable
    objectives: tuple[Objective, ...]
    source: CandidateSource

    @classmethod
    def of(cls, table: CurveTable, objectives: Sequence[str]) -> Problem:
        """Return the problem of a table; in a table that names no initial weights, they are random."""
        facts, teacher = table.provenance, table.teacher
        config = SearchConfig(
            teacher=TeacherConfig(model="local-dir:that-of-the-table"),
            space=SpaceConfig(
                name=facts["space"],
                recipe=facts["recipe_space"],
                max_macs=facts["max_macs"],
                initial_weights=facts.get("initial_weights", (RANDOM,)),
            ),
            recipe=Recipe.model_validate(facts["base_recipe"]),
        )
        shape = NetworkShape(
            num_classes=len(teacher.class_names), channels=facts["channels"], image_size=facts["image_size"]
        )
        context = context_of(shape, teacher.cost, make_limits(config.space, teacher.cost))
        if "teacher_shape" in facts:
            described = TeacherShape.model_validate(facts["teacher_shape"])
            context = context.model_copy(update={"teacher": described})
        source = CandidateSource.of(config, context, teacher.cost)
        return cls(table=table, objectives=check_objectives(objectives), source=source)

    def coordinates(self, row: Row, epoch: int) -> Floats:
        """Return the minimised objective values of a student after an epoch."""
        values = [
            row.curves[objective.name][epoch - 1] if objective.kind == "quality" else getattr(row.cost, objective.name)
            for objective in self.objectives
        ]
        columns = zip(values, self.objectives, strict=True)
        return np.array([coordinates(np.array([float(value)]), objective)[0] for value, objective in columns])


class OurSearch:
    """The search of `nas_distill search`.

    Args:
        problem: Problem to search.
        seed: Seed of the sampler.
        stopped_trial_value: Value that the sampler receives for a stopped trial.
    """

    def __init__(self, problem: Problem, seed: int, stopped_trial_value: StoppedTrialValue = "failed") -> None:
        sampler = SamplerConfig(stopped_trial_value=stopped_trial_value)
        self._ledger = StudyLedger(None, "simulated", problem.objectives, seed, sampler)
        source = problem.source
        self._proposer = Proposer(
            self._ledger,
            space=source.space,
            context=source.context,
            initial_weights=source.initial_weights,
            limits=source.limits,
            cost_estimator=AnalyticCostEstimator(source.shape),
            recipe=source.base,
            recipes=source.recipes,
            choices=source.choices,
            seed=seed,
            max_rejections=1000,
            known=(),
        )

    def ask(self) -> Proposal | None:
        try:
            task = self._proposer.next()
        except ExhaustedSpaceError:
            return None
        return Proposal(number=task.number, spec=task.spec, recipe=task.recipe, cost=task.cost)

    def tell(self, ended_trial: EndedTrial) -> None:
        self._ledger.tell(as_record(ended_trial))


def early_rungs(problem: Problem) -> tuple[int, ...]:
    """Return the epochs at which `OurEarlyStopping` stops trials by default."""
    return rung_epochs(problem.table.epochs, reduction_factor=AshaConfig().reduction_factor)


class OurEarlyStopping:
    """The early stopping of `nas_distill search`.

    Args:
        problem: Problem to search.
        settings: Section `asha` of the configuration, with a rule.
    """

    def __init__(self, problem: Problem, settings: AshaConfig) -> None:
        self._problem = problem
        self._asha = make_asha(settings, epochs=problem.table.epochs, objectives=problem.objectives)

    def stops(self, number: int, epoch: int, row: Row) -> bool:
        values = self._problem.coordinates(row, epoch).tolist()
        return self._asha is not None and self._asha.report(number, epoch, values) is Decision.STOP

    def finished(self, ended_trial: EndedTrial) -> None:
        """Do nothing: the rungs have all the values that they need."""


def as_record(ended_trial: EndedTrial) -> TrialRecord:
    """Return the record that a worker would write; values that the table does not have are zero or empty."""
    row, status = ended_trial.row, ended_trial.status
    curve = _curve(_Key(row))
    metrics = None
    if status is TrialStatus.COMPLETE:
        metrics = _NOTHING.model_copy(
            update={
                "gap_points": ended_trial.gap_points,
                "divergence_nats": float(row.curves["divergence_nats"][ended_trial.kept - 1]),
                "nll_nats": float(row.curves["nll_nats"][ended_trial.kept - 1]),
            }
        )
    outcome = TrialOutcome(
        status=status,
        curve=curve[: ended_trial.epochs],
        metrics=metrics,
        error=row.error if status is TrialStatus.FAILED else None,
    )
    task = TrialTask(number=ended_trial.number, seed=row.seed, spec=row.spec, recipe=row.recipe, cost=row.cost)
    return TrialRecord(task=task, execution=ExecutionInfo(device="simulated"), outcome=outcome)


_NOTHING = StudentMetrics(
    top1=0.0, nll_nats=0.0, gap_points=0.0, agreement=0.0, divergence_nats=0.0, train_top1=0.0, train_agreement=0.0,
    train_divergence_nats=0.0, generalisation_gap_points=0.0, capacity_ratio=1.0, class_gap_points=(), class_counts=(),
)  # fmt: skip


class _Key:
    """A row as a cache key, by identity, because arrays are not hashable."""

    def __init__(self, row: Row) -> None:
        self.row = row

    def __hash__(self) -> int:
        return id(self.row)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.row is other.row


@cache
def _curve(key: _Key) -> tuple[EpochMetrics, ...]:
    curves = key.row.curves
    return tuple(
        EpochMetrics(
            epoch=epoch,
            train_loss=0.0,
            loss_parts={},
            learning_rate=0.0,
            top1=0.0,
            nll_nats=float(nll),
            gap_points=float(gap),
            divergence_nats=float(divergence),
            wall_time_s=float(seconds),
        )
        for epoch, (gap, nll, divergence, seconds) in enumerate(
            zip(
                curves["gap_points"], curves["nll_nats"], curves["divergence_nats"], curves["wall_time_s"], strict=True
            ),
            start=1,
        )
    )
