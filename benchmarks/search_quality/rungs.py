"""Compare settings of early stopping for trainings and searches of different lengths.

Replays the tables of learning curves (see `benchmarks.search_quality`). A shorter training is a table of which epochs
were left out evenly: its learning rate falls to its end as well, but its students have learnt more than such a short
training would teach them. Two kinds of search are simulated:

- 8 trials, until all have ended. What counts is how many students are left, in total and in each third of the table's
  students by size.
- A budget of epochs. What counts is the hypervolume of the completed students after 25, 50 and 100 % of it, as a share
  of that of the whole table.

    python -m benchmarks.search_quality.rungs [--tables PATH ...] [--seeds 20] [--epochs 5 8 15 30]
    python -m benchmarks.search_quality.rungs --quick
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from benchmarks.common.pool import run_all
from benchmarks.common.program import Column, Report, Table, benchmark_parser, conditions, publish
from benchmarks.common.tasks import Outcome, TaskLog, TaskResult
from benchmarks.search_quality.curve_table import TABLES, shortened
from benchmarks.search_quality.mapping import RowMap
from benchmarks.search_quality.our_search import OurEarlyStopping, OurSearch, Problem
from benchmarks.search_quality.quality import CHECKPOINTS, SYNTHETIC, budget_of, open_problem, steps
from benchmarks.search_quality.simulator import Limited, Simulation, draw_rows
from nas_distill.config import AshaConfig, SamplerConfig
from nas_distill.records.base import Record
from nas_distill.search.early_stopping.rules import NO_RULE

OBJECTIVES = ("gap_points", "num_params")
FEW_TRIALS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A setting of early stopping.

    Attributes:
        reduction_factor: Trials that reach a rung, per trial that continues.
        grace_share: Smallest rung, as a share of the epochs.
        startup_trials: Trials that continue at each rung in any case.
        rule: Name of the rule.
    """

    reduction_factor: float = AshaConfig().reduction_factor
    grace_share: float = 0.1
    startup_trials: int = AshaConfig().startup_trials
    rule: str = AshaConfig().rule

    @property
    def name(self) -> str:
        """Name in the tables."""
        if self.rule == NO_RULE:
            return "no early stopping"
        return f"1 of {self.reduction_factor:g}, from {self.grace_share:.0%}, {self.startup_trials} startup trials"

    def config(self, epochs: int) -> AshaConfig:
        """Return the section `asha` of the configuration."""
        return AshaConfig(
            rule=self.rule,
            reduction_factor=self.reduction_factor,
            grace_epochs=math.ceil(epochs * self.grace_share),
            startup_trials=self.startup_trials,
        )


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(),
        Setting(startup_trials=0),
        Setting(startup_trials=2),
        Setting(startup_trials=8),
        Setting(grace_share=0.2),
        Setting(grace_share=0.2, startup_trials=0),
        Setting(reduction_factor=2.0),
        Setting(reduction_factor=2.0, startup_trials=0),
        Setting(reduction_factor=4.0),
        Setting(rule=NO_RULE),
    )
}


class RungJob(Record):
    """One simulated search.

    Attributes:
        table: Path of the table.
        epochs: Epochs of a full training.
        setting: Name of the setting.
        trials: Number of trials; None for a budget of epochs.
        budget_share: Budget as a share of the epochs that training the whole table takes.
        seed: Seed of the search and of the choice of replicates.
        workers: Number of parallel trials.
    """

    table: Path
    epochs: PositiveInt
    setting: str
    trials: PositiveInt | None
    budget_share: float
    seed: NonNegativeInt
    workers: PositiveInt


class RungScore(TaskResult):
    """Result of a simulated search.

    Attributes:
        complete: Number of completed trials.
        small: How many of them are in the smallest third of the table by parameters.
        medium: How many are in the middle third.
        large: How many are in the largest third.
        spent: Epochs spent.
        volumes: Hypervolume at each of `CHECKPOINTS`, as a share of that of the whole table.
    """

    complete: NonNegativeInt
    small: NonNegativeInt
    medium: NonNegativeInt
    large: NonNegativeInt
    spent: NonNegativeInt
    volumes: tuple[float, ...]

    def summary(self) -> str:
        """Return the number of students and the final hypervolume as text."""
        return f"{self.complete} students, {100 * self.volumes[-1]:.1f} % of the hypervolume"


def simulate(job: RungJob, _: None) -> RungScore:
    """Simulate one search in this process."""
    problem = shortened_problem(job.table, job.epochs)
    rows = draw_rows(problem.table, job.seed)
    share = 1.0 if job.trials is not None else job.budget_share
    searcher = OurSearch(problem, job.seed, stopped_trial_value=SamplerConfig().stopped_trial_value)
    stopper = OurEarlyStopping(problem, SETTINGS[job.setting].config(problem.table.epochs))
    budget = budget_of(problem.table, share)
    simulation = Simulation(
        rows, RowMap(rows), searcher=Limited(searcher, job.trials), stopper=stopper, workers=job.workers, budget=budget
    )
    result = simulation.run()
    bounds = np.quantile([row.cost.num_params for row in rows], (1 / 3, 2 / 3))
    complete = result.complete(budget)
    thirds = [int(np.searchsorted(bounds, trial.row.cost.num_params)) for trial in complete]
    found = steps(result, rows, problem)
    total = result.spent if job.trials is not None else budget
    return RungScore(
        complete=len(complete),
        small=thirds.count(0),
        medium=thirds.count(1),
        large=thirds.count(2),
        spent=result.spent,
        volumes=tuple(
            max((value for spent, value in found if spent <= part * total), default=0.0) for part in CHECKPOINTS
        ),
    )


@cache
def shortened_problem(table: Path, epochs: int) -> Problem:
    """Return the problem of a table with shorter trainings, once per process."""
    problem = open_problem(table, OBJECTIVES)
    return replace(problem, table=shortened(problem.table, epochs))


COLUMNS = (
    Column("name", "setting"),
    Column("few", f"students of {FEW_TRIALS} trials", "{:.1f}"),
    Column("fewest", "fewest", "{:d}"),
    Column("bands", "small, medium, large", "{}"),
    Column("few_volume", "their hypervolume", "{:.1f}"),
    Column("few_epochs", "their epochs", "{:.0f}"),
    *(Column(f"at_{round(100 * share)}", f"at {share:.0%} of the budget", "{:.1f}") for share in CHECKPOINTS),
    Column("complete", "students", "{:.0f}"),
)


def main() -> None:
    arguments = parse()
    publish(
        Report(
            name="search_quality/rungs",
            tables=tuple(
                describe(path, epochs, arguments) for path in arguments.tables for epochs in lengths(path, arguments)
            ),
            conditions=conditions(
                seed=list(range(arguments.seeds)), threads=1, workers=arguments.workers,
                budget_shares=" ".join(map(str, arguments.budget_shares)),
            ),
        ),
        arguments,
    )  # fmt: skip


def parse() -> argparse.Namespace:
    parser = benchmark_parser("search_quality.rungs", __doc__)
    parser.add_argument("--tables", type=Path, nargs="+", help="tables of learning curves  [default: all]")
    parser.add_argument("--epochs", type=int, nargs="+", default=[5, 8, 15, 30], help="epochs of a full training, at "
                        "most those of the table  [default: 5 8 15 30]")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=20, help="simulations per setting  [default: 20]")
    parser.add_argument("--workers", type=int, default=4, help="simulated workers  [default: 4]")
    parser.add_argument("--processes", type=int, default=2, help="simulations in parallel  [default: 2]")
    parser.add_argument(
        "--budget-shares", type=float, nargs="+", default=[0.4, 0.2],
        help="budget of each table as a share of the epochs that training the whole table takes  [default: 0.4 0.2]",
    )  # fmt: skip
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.tables, arguments.seeds, arguments.epochs = [SYNTHETIC], 2, [5]
    arguments.tables = arguments.tables or sorted(TABLES.glob("*.parquet"))
    return arguments


def lengths(path: Path, arguments: argparse.Namespace) -> list[int]:
    """Return the numbers of epochs that are simulated with a table, ascending."""
    most = open_problem(path, OBJECTIVES).table.epochs
    return sorted({min(epochs, most) for epochs in arguments.epochs})


def describe(path: Path, epochs: int, arguments: argparse.Namespace) -> Table:
    """Simulate all settings on one table, and return their numbers."""
    share = dict(zip(arguments.tables, arguments.budget_shares, strict=False)).get(path, arguments.budget_shares[-1])
    jobs = [
        RungJob(table=path, epochs=epochs, setting=name, trials=trials, budget_share=share, seed=seed,
                workers=arguments.workers)
        for name in SETTINGS
        for seed in range(arguments.seeds)
        for trials in (FEW_TRIALS, None)
    ]  # fmt: skip
    log = TaskLog(None, Outcome[RungScore])
    scores: dict[tuple[str, bool], list[RungScore]] = {}
    for job, outcome in run_all(jobs, None, processes=arguments.processes, task_log=log, work=simulate):
        if outcome.result is None:
            raise SystemExit(f"search_quality.rungs: {job.setting}, seed {job.seed}: {outcome.error}")
        scores.setdefault((job.setting, job.trials is None), []).append(outcome.result)
    print(f"{path.stem}, {epochs} epochs: {len(jobs)} searches simulated", flush=True)
    return Table(
        title=f"{path.stem}, {epochs} epochs; means, medians of the hypervolume in % of the whole table's; budget "
        f"{share:.0%} of training the whole table",
        columns=COLUMNS,
        rows=tuple(_row(name, scores[name, False], scores[name, True]) for name in SETTINGS),
    )


def _row(name: str, few: Sequence[RungScore], many: Sequence[RungScore]) -> Mapping[str, Any]:
    def mean(attribute: str) -> float:
        return statistics.fmean(getattr(score, attribute) for score in few)

    return {
        "name": name,
        "few": mean("complete"),
        "fewest": min(score.complete for score in few),
        "bands": ", ".join(f"{mean(band):.1f}" for band in ("small", "medium", "large")),
        "few_volume": 100 * statistics.median(score.volumes[-1] for score in few),
        "few_epochs": mean("spent"),
        **{
            f"at_{round(100 * share)}": 100 * statistics.median(score.volumes[index] for score in many)
            for index, share in enumerate(CHECKPOINTS)
        },
        "complete": statistics.fmean(score.complete for score in many),
    }


if __name__ == "__main__":
    main()
