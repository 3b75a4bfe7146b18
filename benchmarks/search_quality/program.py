"""Compare the quality of the students that searches find: nas_distill's search, its variants, and other projects.

All search the same table of learning curves (see `make_tables`) in simulated time, with the same workers, budget and
seeds. Each proposal trains the nearest unused row of the table (see `mapping` and `simulator`). The measure is the
hypervolume of completed students, as a share of that of the whole table. The budget is a share of the epochs that
training the whole table takes.

The number of rows is limited. A search that stops trials early starts more of them and may use all rows before its
budget is spent ("table exhausted"); this is a disadvantage for that search only. Early stopping of random search, and
MOASHA, have the same first rung and reduction factor as ours; `OptunaSearch` runs with the defaults of `ASHAScheduler`.

    python -m benchmarks.search_quality [--tables PATH ...] [--seeds 20] [--budget-share 0.25] [--processes 2]
"""

from __future__ import annotations

import argparse
import hashlib
import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.pool import run_all
from benchmarks.common.program import Column, Report, Table, Verdict, benchmark_parser, commit, conditions, publish
from benchmarks.common.tasks import Outcome, TaskLog
from benchmarks.search_quality.curve_table import TABLES
from benchmarks.search_quality.our_search import early_rungs
from benchmarks.search_quality.quality import (
    CHECKPOINTS,
    MOASHA,
    OURS,
    PEERS,
    RANDOM,
    STRATEGY_VARIANTS,
    SYNTHETIC,
    VARIANTS,
    Job,
    Score,
    open_problem,
    simulate,
)
from benchmarks.search_quality.rung_ranks import neighbour_correlation, rank_correlations, seed_correlation

OBJECTIVES = ("gap_points", "num_params")
TARGET_SHARE = 1 / 3
CONTENDERS = (*(variant.name for variant in VARIANTS), *PEERS)
STRATEGIES = tuple(variant.name for variant in STRATEGY_VARIANTS)
ALL_CONTENDERS = tuple(dict.fromkeys((*CONTENDERS, *STRATEGIES)))

QUALITY_COLUMNS = (
    Column("name", "search"),
    *(Column(f"at_{round(100 * share)}", f"at {share:.0%} of the budget") for share in CHECKPOINTS),
    Column("needed", "budget to reach random, %", "{:.0f}"),
    Column("started", "trials", "{:.0f}"),
    Column("complete", "completed", "{:.0f}"),
    Column("exhausted", "table exhausted", "{:.0%}"),
)
RANK_COLUMNS = (
    Column("epoch", "epoch", "{}"),
    Column("averaged", "moving average", "{:.2f}"),
    Column("raw", "raw weights", "{:.2f}"),
    Column("raw_to_averaged", "raw weights against final average", "{:.2f}"),
    Column("everything", "evaluated weights, all trainings", "{:.2f}"),
)

Scores = dict[str, list[Score]]


def main() -> None:
    arguments = parse()
    tables: list[Table] = []
    verdicts: list[Verdict] = []
    for path in arguments.tables:
        scores = measure(path, arguments)
        tables += describe(path, scores, arguments)
        verdicts += judge(path, scores)
        verdicts.append(neighbour_verdict(path))
    report = Report(
        name="search_quality/" + "-".join(path.stem for path in arguments.tables),
        tables=tuple(tables),
        verdicts=tuple(verdicts),
        conditions=conditions(
            seed=list(range(arguments.seeds)),
            threads=1,
            workers=arguments.workers,
            budget_share=f"{arguments.budget_share:.3g}",
            objectives=" and ".join(OBJECTIVES),
            rungs=" ".join(str(epoch) for path in arguments.tables for epoch in rungs_of(path)),
        ),
    )
    publish(report, arguments)


def parse() -> argparse.Namespace:
    parser = benchmark_parser("search_quality", __doc__)
    parser.add_argument(
        "--tables", type=Path, nargs="+", help="tables of learning curves  [default: all of benchmarks/search_quality]"
    )
    parser.add_argument(
        "--contenders", nargs="+", choices=ALL_CONTENDERS, default=list(ALL_CONTENDERS), metavar="NAME",
        help=f"searches to compare: {', '.join(ALL_CONTENDERS)}  [default: all]",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, default=20, help="simulations per search and table  [default: 20]")
    parser.add_argument("--workers", type=int, default=4, help="simulated workers  [default: 4]")
    parser.add_argument(
        "--budget-share", type=float, default=0.25,
        help="budget as a share of the epochs that training all candidates takes  [default: 0.25]",
    )  # fmt: skip
    parser.add_argument("--processes", type=int, default=2, help="simulations in parallel  [default: 2]")
    parser.add_argument(
        "--keep", type=Path, metavar="FILE", help="log of finished simulations, which are not repeated for this commit"
    )
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.tables, arguments.seeds = [SYNTHETIC], 2
    if find_spec("syne_tune") is None and MOASHA in arguments.contenders:
        print("Syne Tune is not installed, so MOASHA is left out; install it with: pip install '.[bench]'")
        arguments.contenders.remove(MOASHA)
    if arguments.tables is None:
        arguments.tables = sorted(TABLES.glob("*.parquet"))
    if not arguments.tables:
        parser.error(f"there is no table in {TABLES}; make one with python -m benchmarks.search_quality.make_tables")
    return arguments


def measure(path: Path, arguments: argparse.Namespace) -> Scores:
    """Simulate every contender with every seed."""
    table_id = "" if path == SYNTHETIC else hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    jobs = [
        Job(
            table=path,
            table_id=table_id,
            commit=commit(),
            contender=contender,
            seed=seed,
            workers=arguments.workers,
            budget_share=arguments.budget_share,
            objectives=OBJECTIVES,
        )
        for seed in range(arguments.seeds)
        for contender in arguments.contenders
    ]
    if arguments.keep is not None and commit().endswith("-dirty"):
        print(f"{arguments.keep}: is not used, because the working tree has uncommitted changes")
        arguments.keep = None
    task_log = TaskLog(arguments.keep, Outcome[Score])
    found: dict[tuple[str, int], Score] = {}
    for number, (job, outcome) in enumerate(
        run_all(jobs, None, processes=arguments.processes, task_log=task_log, work=simulate), start=1
    ):
        print(f"{path.stem} {number}/{len(jobs)} {job.contender}, seed {job.seed}: {outcome.summary()}", flush=True)
        if outcome.result is None:
            raise SystemExit(f"search_quality: {job.contender}, seed {job.seed}: {outcome.error}")
        found[job.contender, job.seed] = outcome.result
    return {name: [found[name, seed] for seed in range(arguments.seeds)] for name in arguments.contenders}


def describe(path: Path, scores: Scores, arguments: argparse.Namespace) -> list[Table]:
    """Return the tables about one table of learning curves."""
    table = open_problem(path, OBJECTIVES).table
    budget = next(iter(scores.values()))[0].budget
    setting = (
        f"{path.stem}: {table.num_candidates} candidates of {table.provenance['space']} with recipes, {table.epochs} "
        f"epochs, budget {budget:,} epochs, {arguments.workers} workers, {arguments.seeds} seeds"
    )
    explained = "hypervolume of completed students, % of that of the whole table: median (quartiles)"
    tables = [
        Table(title=f"{title}; {explained}. {setting}", columns=QUALITY_COLUMNS, rows=quality_rows(scores, names))
        for title, names in (
            ("Searches", CONTENDERS),
            ("Value reported for stopped trials", STRATEGIES),
        )
        if set(names) & set(scores)
    ]
    correlations, averaging, trained = rank_correlations(table, rungs_of(path))
    title = (
        f"Kendall's tau between the gap at an epoch and the final gap. {path.stem}: {averaging} trainings with a "
        f"moving average, {trained} in total"
    )
    ceiling, pairs = seed_correlation(table)
    if pairs > 1:
        title += f"; between the final gaps of two seeds it is {ceiling:.2f} ({pairs} candidates)"
    rows = [{**{column.key: getattr(found, column.key) for column in RANK_COLUMNS}} for found in correlations]
    return [*tables, Table(title=title, columns=RANK_COLUMNS, rows=tuple(rows))]


def rungs_of(path: Path) -> tuple[int, ...]:
    """Return the epochs at which our search may stop a trial."""
    return early_rungs(open_problem(path, OBJECTIVES))


def quality_rows(scores: Scores, names: Sequence[str]) -> tuple[Mapping[str, Any], ...]:
    goal = final_of_random(scores)
    return tuple(quality_row(name, scores[name], goal) for name in names if name in scores)


def final_of_random(scores: Scores) -> float | None:
    """Return the median final hypervolume of random search; None if it did not run."""
    return float(np.median([score.at(1.0) for score in scores[RANDOM]])) if RANDOM in scores else None


def quality_row(name: str, found: Sequence[Score], goal: float | None) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name}
    for share in CHECKPOINTS:
        values = 100 * np.array([score.at(share) for score in found])
        low, middle, high = np.percentile(values, [25, 50, 75])
        key = f"at_{round(100 * share)}"
        row |= {key: f"{middle:.2f} ({low:.2f} to {high:.2f})", f"{key}_percent": values.round(4).tolist()}
    needed = math.inf if goal is None else needed_share(found, goal)
    return row | {
        "needed": 100 * needed if math.isfinite(needed) else None,
        "started": np.median([score.started for score in found]),
        "complete": np.median([score.complete for score in found]),
        "exhausted": np.mean([score.exhausted for score in found]),
    }


def needed_share(found: Sequence[Score], goal: float) -> float:
    """Return the median share of the budget to reach a hypervolume; infinite if half of the seeds do not reach it."""
    return float(np.median([score.needed(goal) for score in found]))


def judge(path: Path, scores: Scores) -> list[Verdict]:
    """Return verdicts: ours is best at every budget, and reaches the final value of random search early."""
    goal = final_of_random(scores)
    if OURS not in scores or goal is None:
        return []
    verdicts = []
    others = [name for name in PEERS if name in scores]
    for share in CHECKPOINTS:
        medians = {name: float(np.median([score.at(share) for score in scores[name]])) for name in (OURS, *others)}
        best = max(others, key=lambda name: medians[name])
        text = (
            f"{path.stem}: at {share:.0%} of the budget, ours has {100 * medians[OURS]:.2f} % of the hypervolume, the "
            f"best other search ({best}) {100 * medians[best]:.2f} %"
        )
        verdicts.append(Verdict(text=text, met=medians[OURS] > medians[best]))
    needed = needed_share(scores[OURS], goal)
    taken = f"with {needed:.0%} of its epochs" if math.isfinite(needed) else "never"
    text = f"{path.stem}: ours reaches the final hypervolume of random search {taken} (target: at most a third)"
    return [*verdicts, Verdict(text=text, met=needed <= TARGET_SHARE)]


def neighbour_verdict(path: Path) -> Verdict:
    """Return how well the nearest row of a proposal predicts its result."""
    tau = neighbour_correlation(open_problem(path, OBJECTIVES).table)
    return Verdict(
        text=f"{path.stem}: Kendall's tau between the final gaps of candidates and nearest neighbours is {tau:.2f}"
    )
