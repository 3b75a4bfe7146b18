"""Quality of a simulated search: hypervolume of its completed students as a function of the epochs spent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import optuna
from pydantic import NonNegativeInt, PositiveInt

from benchmarks.common.tasks import TaskResult
from benchmarks.search_quality.curve_table import CurveTable, Floats, Row, ended, read_table
from benchmarks.search_quality.mapping import RowMap
from benchmarks.search_quality.our_search import OurEarlyStopping, OurSearch, Problem, early_rungs
from benchmarks.search_quality.peers import Moasha, OptunaSearcher, RayAsha, RaySearch
from benchmarks.search_quality.simulator import NoStopping, Searcher, Simulation, SimulationResult, Stopper, draw_rows
from benchmarks.search_quality.synthetic import synthetic_table
from nas_distill.analysis.front.arithmetic import coordinates, hypervolume, reference_point
from nas_distill.config import AshaConfig, SamplerConfig, StoppedTrialValue
from nas_distill.records.base import Record
from nas_distill.search.early_stopping.rules import NO_RULE

OURS, RANDOM, MOASHA = "ours", "random", "Syne Tune MOASHA"
RULES = ("layers", "volume", "residual")
STRATEGIES: tuple[StoppedTrialValue, ...] = ("failed", "reached", "extrapolated")
PEERS = (
    RANDOM,
    "random + ASHA on the gap",
    "Ray OptunaSearch + ASHA",
    "Optuna NSGA-II",
    MOASHA,
)
CHECKPOINTS = (0.25, 0.5, 1.0)
"""Shares of the budget at which the hypervolume is compared."""

SYNTHETIC = Path("synthetic")
"""Stands for a table that is generated on the fly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One configuration of nas_distill's search.

    Attributes:
        rule: Rule of early stopping; None trains every trial to its end.
        stopped_trial_value: Value that the sampler receives for a stopped trial.
    """

    rule: str | None = AshaConfig().rule
    stopped_trial_value: StoppedTrialValue = SamplerConfig().stopped_trial_value

    @property
    def name(self) -> str:
        """Name in the tables: settings that differ from the defaults."""
        if self.rule is None:
            return f"{OURS}, no early stopping"
        parts = [OURS]
        if self.rule != AshaConfig().rule:
            parts.append(f"rule {self.rule}")
        if self.stopped_trial_value != SamplerConfig().stopped_trial_value:
            parts.append(f"stopped trials as {self.stopped_trial_value}")
        return ", ".join(parts)


VARIANTS = (
    Variant(),
    Variant(rule=None),
    *(Variant(rule=rule) for rule in RULES if rule != AshaConfig().rule),
)
STRATEGY_VARIANTS = tuple(Variant(stopped_trial_value=strategy) for strategy in STRATEGIES)
_ALL_VARIANTS = {variant.name: variant for variant in (*VARIANTS, *STRATEGY_VARIANTS)}


class Job(Record):
    """One simulated search, with everything that decides its numbers.

    Attributes:
        table: Path of the table.
        table_id: Digest of the file.
        commit: Commit of the code.
        contender: Name of the search.
        seed: Seed of the search and of the choice of replicates.
        workers: Number of parallel trials.
        budget_share: Budget as a share of the epochs that training all candidates of the table takes.
        objectives: Names of the objectives.
    """

    table: Path
    table_id: str
    commit: str
    contender: str
    seed: NonNegativeInt
    workers: PositiveInt
    budget_share: float
    objectives: tuple[str, ...]


class Score(TaskResult):
    """Result of a simulated search.

    Attributes:
        budget: Budget in epochs.
        spent: Epochs spent, at most the budget; fewer if the table was exhausted.
        started: Number of trials started.
        complete: Number of trials trained to their end.
        exhausted: Whether the table had no free row left before the budget was spent.
        steps: Epochs spent and hypervolume at each increase. The hypervolume is a share of that of the whole table
            (with the replicates of this seed), fully trained.
    """

    budget: PositiveInt
    spent: NonNegativeInt
    started: NonNegativeInt
    complete: NonNegativeInt
    exhausted: bool
    steps: tuple[tuple[int, float], ...]

    def summary(self) -> str:
        """Return final hypervolume and number of trials as text."""
        return f"{100 * self.at(1.0):.2f} % of the hypervolume, {self.complete} of {self.started} trials completed"

    def at(self, share: float) -> float:
        """Return the hypervolume after a share of the budget."""
        return max((value for spent, value in self.steps if spent <= share * self.budget), default=0.0)

    def needed(self, hypervolume: float) -> float:
        """Return the share of the budget that the hypervolume took; infinite if it was not reached."""
        return min((spent for spent, value in self.steps if value >= hypervolume), default=math.inf) / self.budget


@cache
def open_problem(table: Path, objectives: tuple[str, ...]) -> Problem:
    """Load the problem of a table, once per process."""
    made_up = table == SYNTHETIC
    return Problem.of(
        synthetic_table(candidates=40, epochs=9, second_seed=10) if made_up else read_table(table), objectives
    )


def simulate(job: Job, _: None) -> Score:
    """Simulate one search in this process."""
    problem = open_problem(job.table, job.objectives)
    rows = draw_rows(problem.table, job.seed)
    searcher, stopper = build_contender(job.contender, problem, job.seed)
    budget = budget_of(problem.table, job.budget_share)
    simulation = Simulation(rows, RowMap(rows), searcher=searcher, stopper=stopper, workers=job.workers, budget=budget)
    result = simulation.run()
    return Score(
        budget=budget,
        spent=result.spent,
        started=result.started,
        complete=len(result.complete(budget)),
        exhausted=result.exhausted,
        steps=steps(result, rows, problem),
    )


def build_contender(name: str, problem: Problem, seed: int) -> tuple[Searcher, Stopper]:
    """Return searcher and stopping rule of a contender."""
    if name in _ALL_VARIANTS:
        variant = _ALL_VARIANTS[name]
        stopper = OurEarlyStopping(problem, AshaConfig(rule=variant.rule or NO_RULE))
        return OurSearch(problem, seed, stopped_trial_value=variant.stopped_trial_value), stopper
    epochs = problem.table.epochs
    # When only early stopping is compared, its first rung and its reduction factor equal ours.
    alike = {"grace_period": early_rungs(problem)[0], "reduction_factor": round(AshaConfig().reduction_factor)}
    match name:
        case "random":
            return OptunaSearcher(problem, optuna.samplers.RandomSampler(seed=seed)), NoStopping()
        case "random + ASHA on the gap":
            return OptunaSearcher(problem, optuna.samplers.RandomSampler(seed=seed)), RayAsha(epochs, **alike)
        case "Ray OptunaSearch + ASHA":
            return RaySearch(problem, seed), RayAsha(epochs)
        case "Optuna NSGA-II":
            return OptunaSearcher(problem, optuna.samplers.NSGAIISampler(seed=seed)), NoStopping()
        case _ if name == MOASHA:
            both = Moasha(problem, seed, **alike)
            return both, both
    raise ValueError(f"unknown contender {name!r}")


def budget_of(table: CurveTable, share: float) -> int:
    """Return the budget in epochs."""
    return max(round(share * table.num_candidates * table.epochs), table.epochs)


def steps(result: SimulationResult, rows: Sequence[Row], problem: Problem) -> tuple[tuple[int, float], ...]:
    """Return epochs spent and hypervolume, as a share of the table's, at each increase."""
    reference = _reference(problem)
    best = hypervolume(_coordinates([(row, ended(row).kept) for row in rows if not row.error], problem), reference)
    found: list[tuple[int, float]] = []
    done: list[tuple[Row, int]] = []
    for trial in result.complete(result.spent):
        done.append((trial.row, trial.kept))
        value = hypervolume(_coordinates(done, problem), reference) / best
        if not found or value > found[-1][1]:
            found.append((trial.spent, value))
    return tuple(found)


def _reference(problem: Problem) -> Floats:
    point = reference_point(problem.table.teacher, problem.objectives)
    return np.array(
        [
            coordinates(np.array([value]), objective)[0]
            for value, objective in zip(point, problem.objectives, strict=True)
        ]
    )


def _coordinates(trained: Sequence[tuple[Row, int]], problem: Problem) -> Floats:
    return np.array([problem.coordinates(row, kept) for row, kept in trained])
