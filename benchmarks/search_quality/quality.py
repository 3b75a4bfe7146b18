"""How good a simulated search is: the hypervolume of its fully trained students, epoch by epoch of its budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import optuna
from pydantic import NonNegativeInt, PositiveInt

from benchmarks.common.ledger import Found
from benchmarks.search_quality.curve_table import CurveTable, Floats, Row, ended, read_table
from benchmarks.search_quality.mapping import RowMap
from benchmarks.search_quality.our_search import REDUCTION_FACTOR, Early, Ours, Scene, early_rungs
from benchmarks.search_quality.peers import Moasha, OptunaAlone, RayAsha, RaySearch
from benchmarks.search_quality.simulator import Never, Playback, Searcher, Simulation, Stopper, draw_rows
from benchmarks.search_quality.synthetic import synthetic_table
from nas_distill.analysis.front.arithmetic import coordinates, hypervolume, reference_point
from nas_distill.config import AshaConfig, SamplerConfig, StoppedTrialValue
from nas_distill.records.base import Record

OURS, RANDOM, MOASHA = "ours", "random", "Syne Tune MOASHA"
RULES = ("layers", "volume", "residual")
STRATEGIES: tuple[StoppedTrialValue, ...] = ("failed", "reached", "extrapolated")
PLAIN_RIVALS = (
    RANDOM,
    "random + ASHA on the gap",
    "Ray OptunaSearch + ASHA",
    "Optuna NSGA-II",
    MOASHA,
)
CHECKPOINTS = (0.25, 0.5, 1.0)
"""Shares of the budget at which the hypervolume is compared."""

MADE_UP = Path("made-up")
"""Stands for a table that is made up on the spot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A way of searching of ours.

    Attributes:
        rule: Of early stopping; None trains everything to the end.
        stopped_trial_value: What the sampler is told of a stopped trial.
    """

    rule: str | None = AshaConfig().rule
    stopped_trial_value: StoppedTrialValue = SamplerConfig().stopped_trial_value

    @property
    def name(self) -> str:
        """As it is printed: what differs from the defaults."""
        if self.rule is None:
            return f"{OURS}, no early stopping"
        parts = [OURS]
        if self.rule != AshaConfig().rule:
            parts.append(f"rule {self.rule}")
        if self.stopped_trial_value != SamplerConfig().stopped_trial_value:
            parts.append(f"stopped as {self.stopped_trial_value}")
        return ", ".join(parts)


VARIANTS = (
    Variant(),
    Variant(rule=None),
    *(Variant(rule=rule) for rule in RULES if rule != AshaConfig().rule),
)
STRATEGY_VARIANTS = tuple(Variant(stopped_trial_value=strategy) for strategy in STRATEGIES)
_ALL_VARIANTS = {variant.name: variant for variant in (*VARIANTS, *STRATEGY_VARIANTS)}


class Job(Record):
    """One simulated search: everything that decides its numbers.

    Attributes:
        table: Path of the table.
        table_id: Digest of its bytes.
        commit: Of the code.
        contender: Who searches.
        seed: Of the contender, and of which replicate a candidate's row is.
        workers: Trials at once.
        budget_share: Budget, as a share of the epochs that training all of the table's candidates would take.
        objectives: Names.
    """

    table: Path
    table_id: str
    commit: str
    contender: str
    seed: NonNegativeInt
    workers: PositiveInt
    budget_share: float
    objectives: tuple[str, ...]


class Score(Found):
    """What a simulated search came to.

    Attributes:
        budget: Epochs.
        spent: Epochs, at most the budget; less when the table was exhausted.
        started: Trials begun.
        complete: Trials trained to the end.
        exhausted: Whether the table had no free row left before the budget was spent.
        steps: Epochs spent and hypervolume, whenever it rose; the hypervolume is a share of that of the whole table
            (of the rows that this seed drew), fully trained.
    """

    budget: PositiveInt
    spent: NonNegativeInt
    started: NonNegativeInt
    complete: NonNegativeInt
    exhausted: bool
    steps: tuple[tuple[int, float], ...]

    def words(self) -> str:
        """Returns the final hypervolume and the trials."""
        return f"{100 * self.at(1.0):.2f} % of the hypervolume, {self.complete} of {self.started} trials to the end"

    def at(self, share: float) -> float:
        """Returns the hypervolume when a share of the budget was spent."""
        return max((value for spent, value in self.steps if spent <= share * self.budget), default=0.0)

    def needed(self, hypervolume: float) -> float:
        """Returns the share of the budget after which the hypervolume was reached; infinite when it never was."""
        return min((spent for spent, value in self.steps if value >= hypervolume), default=math.inf) / self.budget


@cache
def open_scene(table: Path, objectives: tuple[str, ...]) -> Scene:
    """Opens a table, once per process."""
    made_up = table == MADE_UP
    return Scene.of(
        synthetic_table(candidates=60, epochs=9, second_seed=20) if made_up else read_table(table), objectives
    )


def play(job: Job, _: None) -> Score:
    """Simulates one search in this process."""
    scene = open_scene(job.table, job.objectives)
    rows = draw_rows(scene.table, job.seed)
    searcher, stopper = contestant(job.contender, scene, job.seed)
    budget = budget_of(scene.table, job.budget_share)
    simulation = Simulation(rows, RowMap(rows), searcher=searcher, stopper=stopper, workers=job.workers, budget=budget)
    playback = simulation.run()
    return Score(
        budget=budget,
        spent=playback.spent,
        started=playback.started,
        complete=len(playback.complete(budget)),
        exhausted=playback.exhausted,
        steps=steps(playback, rows, scene),
    )


def contestant(name: str, scene: Scene, seed: int) -> tuple[Searcher, Stopper]:
    """Returns who proposes and who stops, for a contender's name."""
    if name in _ALL_VARIANTS:
        variant = _ALL_VARIANTS[name]
        stopper = Never() if variant.rule is None else Early(scene, variant.rule)
        return Ours(scene, seed, stopped_trial_value=variant.stopped_trial_value), stopper
    epochs = scene.table.epochs
    # Where early stopping alone is compared, it begins as late and cuts as deep as ours.
    alike = {"grace_period": early_rungs(scene)[0], "reduction_factor": REDUCTION_FACTOR}
    match name:
        case "random":
            return OptunaAlone(scene, optuna.samplers.RandomSampler(seed=seed)), Never()
        case "random + ASHA on the gap":
            return OptunaAlone(scene, optuna.samplers.RandomSampler(seed=seed)), RayAsha(epochs, **alike)
        case "Ray OptunaSearch + ASHA":
            return RaySearch(scene, seed), RayAsha(epochs)
        case "Optuna NSGA-II":
            return OptunaAlone(scene, optuna.samplers.NSGAIISampler(seed=seed)), Never()
        case _ if name == MOASHA:
            both = Moasha(scene, seed, **alike)
            return both, both
    raise ValueError(f"{name} is no contender")


def budget_of(table: CurveTable, share: float) -> int:
    """Returns the budget, epochs."""
    return max(round(share * table.num_candidates * table.epochs), table.epochs)


def steps(playback: Playback, rows: Sequence[Row], scene: Scene) -> tuple[tuple[int, float], ...]:
    """Returns epochs spent and hypervolume as a share of the table's, whenever it rose."""
    reference = _reference(scene)
    best = hypervolume(_places([(row, ended(row).kept) for row in rows if not row.error], scene), reference)
    found: list[tuple[int, float]] = []
    done: list[tuple[Row, int]] = []
    for trial in playback.complete(playback.spent):
        done.append((trial.row, trial.kept))
        value = hypervolume(_places(done, scene), reference) / best
        if not found or value > found[-1][1]:
            found.append((trial.spent, value))
    return tuple(found)


def _reference(scene: Scene) -> Floats:
    point = reference_point(scene.table.teacher, scene.objectives)
    return np.array(
        [coordinates(np.array([value]), objective)[0] for value, objective in zip(point, scene.objectives, strict=True)]
    )


def _places(trained: Sequence[tuple[Row, int]], scene: Scene) -> Floats:
    return np.array([scene.place(row, kept) for row, kept in trained])
