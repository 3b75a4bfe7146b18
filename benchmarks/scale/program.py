"""Measure the cost of a search apart from training: proposals in long studies, Ray's overhead, idle time of many GPUs.

- `ask`: time to propose a trial and to record its result, and memory of the driver, in a real study in a SQLite file
  with 10 to 5,000 trials. The time to measure a candidate's cost is listed separately.
- `overhead`: trials that do nothing, through the real driver and Ray Tune.
- `slots`: a local Ray cluster of several nodes with simulated GPUs, and workers that sleep and do not import torch.
  Reported is the share of time in which a slot has a trial.

    python -m benchmarks.scale [--parts ask overhead slots] [--nodes 8] [--gpus-per-node 8]
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray

from benchmarks.common.cost_estimator import AnalyticCostEstimator
from benchmarks.common.process import memory_of
from benchmarks.common.program import Column, Report, Table, Verdict, benchmark_parser, conditions, publish
from benchmarks.scale.sleeping import Sleep, complete_record, point_after
from benchmarks.scale.sleeping_search import (
    OBJECTIVES,
    SHAPE,
    STUDY,
    RandomProposer,
    SleepingSearch,
    make_proposer,
    run_sleeping,
)
from benchmarks.scale.slots import simulated_cluster, spans_of, usage_of
from nas_distill.callbacks import NullProgress
from nas_distill.config import ResourcesConfig
from nas_distill.models.costs.cost import measure_cost
from nas_distill.records import Recipe, TrialRecord
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.cluster import ray_cluster
from nas_distill.search.spaces.loading import load_space
from nas_distill.search.study.ledger import StudyLedger

PARTS = ("ask", "overhead", "slots")
SIZES = (10, 100, 1000, 5000)
EPOCHS = 30
ASK_TARGET_S, ASK_TARGET_AT = 0.1, 1000
OVERHEAD_TARGET = 0.1
BUSY_TARGET = 0.95

ASK_COLUMNS = (
    Column("recipe", "recipe"),
    Column("trials", "trials in the study", "{:,}"),
    Column("ask_ms", "ask, median ms", "{:.1f}"),
    Column("ask_p95_ms", "95 %", "{:.1f}"),
    Column("tell_ms", "tell, median ms", "{:.1f}"),
    Column("tell_p95_ms", "95 %", "{:.1f}"),
    Column("memory_mib", "driver memory, MiB", "{:.0f}"),
)
OVERHEAD_COLUMNS = (
    Column("slept_s", "sleep per trial, s", "{:.0f}"),
    Column("trials", "trials", "{}"),
    Column("slot_s", "slot-seconds per trial", "{:.3f}"),
    Column("overhead_ms", "overhead per trial, ms", "{:.0f}"),
)
SLOT_COLUMNS = (
    Column("slots", "slots", "{}"),
    Column("trials", "trials", "{}"),
    Column("busy", "busy while all slots are in use, %", "{:.1f}"),
    Column("busy_overall", "busy overall, %", "{:.1f}"),
    Column("gap_s", "between two trials of a slot, median s", "{:.2f}"),
    Column("ramp_s", "until all slots are in use, s", "{:.0f}"),
    Column("torch", "workers that imported torch", "{}"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartReport:
    """Result of one part."""

    table: Table
    verdicts: tuple[Verdict, ...]


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory() as scratch:
        measures = {"ask": measure_asking, "overhead": measure_overhead, "slots": measure_slots}
        found = [measures[part](Path(scratch), arguments) for part in arguments.parts]
    report = Report(
        name="scale/scale" + "".join(f"-{part}" for part in arguments.parts if arguments.parts != list(PARTS)),
        tables=tuple(part.table for part in found),
        verdicts=tuple(verdict for part in found for verdict in part.verdicts),
        conditions=conditions(seed=arguments.seed, threads=1, ray=ray.__version__),
    )
    publish(report, arguments)


def parse() -> argparse.Namespace:
    parser = benchmark_parser("scale", __doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run  [default: all]")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="ask: sizes of the study, ascending")
    parser.add_argument("--repeats", type=int, default=30, help="ask: proposals per size  [default: 30]")
    parser.add_argument("--trials", type=int, default=100, help="overhead: trials that do nothing  [default: 100]")
    parser.add_argument(
        "--trial-s", type=int, default=30, help="overhead: seconds of a trial that reports every second  [default: 30]"
    )
    parser.add_argument("--long-rounds", type=int, default=6, help="overhead: such trials per slot  [default: 6]")
    parser.add_argument("--nodes", type=int, default=8, help="slots: number of nodes  [default: 8]")
    parser.add_argument("--gpus-per-node", type=int, default=8, help="slots: simulated GPUs per node  [default: 8]")
    parser.add_argument("--rounds", type=int, default=4, help="slots: trials per slot  [default: 4]")
    parser.add_argument("--sleep-s", type=float, default=120.0, help="slots: mean seconds of a trial  [default: 120]")
    parser.add_argument("--seed", type=int, default=0, help="seed of the proposals  [default: 0]")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.sizes, arguments.repeats, arguments.trials = [10, 30], 3, 6
        arguments.trial_s, arguments.long_rounds = 3, 2
        arguments.nodes, arguments.gpus_per_node, arguments.rounds, arguments.sleep_s = 2, 1, 2, 2.0
    return arguments


def measure_asking(folder: Path, arguments: argparse.Namespace) -> PartReport:
    """Measure proposals and results in studies of several sizes, with a fixed recipe and with searched recipes."""
    rows: list[dict[str, Any]] = []
    tasks: list[TrialTask] = []
    for recipes in ("fixed", "search"):
        found_rows, tasks = ask_and_tell(folder / recipes, recipes, arguments)
        rows += found_rows
    cost_s = seconds_per_cost(tasks)
    verdicts = []
    for recipes in ("fixed", "search"):
        found = {row["trials"]: (row["ask_ms"] + row["tell_ms"]) / 1000 for row in rows if row["recipe"] == recipes}
        if ASK_TARGET_AT in found:
            seconds = found[ASK_TARGET_AT]
            text = (
                f"recipe {recipes}: ask and tell take {seconds:.3f} s at {ASK_TARGET_AT:,} trials (target: under 0.1)"
            )
            verdicts.append(Verdict(text=text, met=seconds < ASK_TARGET_S))
        small, large = sorted(found)[-2:]
        ratios = (found[large] / found[small], math.log(large) / math.log(small))
        exponent, of_log = (math.log(ratio) / math.log(large / small) for ratio in ratios)
        text = (
            f"recipe {recipes}: from {small:,} to {large:,} trials, the time of a proposal grows as n^{exponent:.2f} "
            f"(target: no faster than log n, here n^{of_log:.2f})"
        )
        verdicts.append(Verdict(text=text, met=exponent <= of_log))
    title = (
        f"Ask and tell of the default sampler, space resnet, curves of {EPOCHS} epochs, SQLite; without measuring a "
        f"candidate's cost ({1000 * cost_s:.0f} ms)"
    )
    return PartReport(table=Table(title=title, columns=ASK_COLUMNS, rows=tuple(rows)), verdicts=tuple(verdicts))


def ask_and_tell(
    folder: Path, recipes: str, arguments: argparse.Namespace
) -> tuple[list[dict[str, Any]], list[TrialTask]]:
    """Return the rows of the table, and the tasks proposed last."""
    run = RunDirectory(folder)
    run.path.mkdir(parents=True)
    ledger = StudyLedger(run.own_storage, STUDY, OBJECTIVES, arguments.seed)
    cost_estimator = AnalyticCostEstimator(SHAPE)
    proposer = make_proposer(
        ledger,
        load_space("resnet"),
        cost_estimator=cost_estimator,
        recipe=Recipe(epochs=EPOCHS),
        recipes=recipes,
        seed=arguments.seed,
    )
    rows = []
    tasks: list[TrialTask] = []
    for size in arguments.sizes:
        fill(proposer, ledger, size)
        ask_s: list[float] = []
        tell_s: list[float] = []
        tasks = []
        for _ in range(arguments.repeats):
            started, measuring_s = time.perf_counter(), cost_estimator.measuring_s
            tasks.append(proposer.next())
            ask_s.append(time.perf_counter() - started - (cost_estimator.measuring_s - measuring_s))
            record = slept(tasks[-1])
            started = time.perf_counter()
            ledger.tell(record)
            tell_s.append(time.perf_counter() - started)
        ask, tell = 1000 * np.percentile(ask_s, [50, 95]), 1000 * np.percentile(tell_s, [50, 95])
        memory = memory_of("self") / 2**20
        print(f"recipe {recipes}, {size:,} trials: ask {ask[0]:.1f} ms, tell {tell[0]:.1f} ms", flush=True)
        rows.append(
            {
                "recipe": recipes, "trials": size, "ask_ms": float(ask[0]), "ask_p95_ms": float(ask[1]),
                "tell_ms": float(tell[0]), "tell_p95_ms": float(tell[1]), "memory_mib": memory,
            }
        )  # fmt: skip
    ledger.close()
    return rows, tasks


def fill(proposer: RandomProposer, ledger: StudyLedger, size: int) -> None:
    """Add random trials until the study holds `size` trials, rejected ones included."""
    while ledger.num_trials < size:
        ledger.tell(slept(proposer.next_at_random()))


def slept(task: TrialTask) -> TrialRecord:
    """Return the record of a completed trial."""
    curve = [point_after(task.cost.num_params, epoch, 1.0) for epoch in range(1, EPOCHS + 1)]
    return complete_record(task, curve)


def seconds_per_cost(tasks: Sequence[TrialTask]) -> float:
    """Return the median seconds to measure a candidate's cost by building it."""
    seconds = []
    for task in tasks:
        started = time.perf_counter()
        measure_cost(task.spec, num_classes=10, channels=1, image_size=8)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


def measure_overhead(folder: Path, arguments: argparse.Namespace) -> PartReport:
    """Measure the overhead of trials that do nothing and of trials that report every second."""
    slots, seconds_each = 2, arguments.trial_s
    nothing, every_second = Sleep(epoch_s=0.0, checkpoint_every=1000), Sleep(epoch_s=1.0, checkpoint_every=5)
    settings = (
        SleepingSearch(trials=arguments.trials, epochs=1, sleep=nothing),
        SleepingSearch(trials=slots * arguments.long_rounds, epochs=seconds_each, sleep=every_second),
    )
    rows = []
    resources = ResourcesConfig(max_parallel_trials=slots, gpus_per_trial=0.0)
    for setting in settings:
        run_folder = folder / f"overhead-{setting.epochs}"
        with ray_cluster(resources, NullProgress()):
            run_sleeping(run_folder, setting, resources, NullProgress())
        spans = spans_of(run_folder)
        # Skip the first trial of each worker, which waits for the process to start.
        steady = spans[slots:]
        seconds = slots * (max(span.ended for span in steady) - steady[0].started) / len(steady)
        slept_s = setting.epochs * setting.sleep.epoch_s
        overhead_ms = 1000 * (seconds - slept_s)
        rows.append({"slept_s": slept_s, "trials": len(steady), "slot_s": seconds, "overhead_ms": overhead_ms})
    share = rows[-1]["overhead_ms"] / 1000 / seconds_each
    text = (
        f"a trial that does nothing occupies its slot for {rows[0]['overhead_ms']:.0f} ms; a trial of {seconds_each} s "
        f"that reports every second takes {share:.1%} longer than its sleep (target: under 10 %)"
    )
    table = Table(title=f"Trials through Ray, {slots} at a time", columns=OVERHEAD_COLUMNS, rows=tuple(rows))
    return PartReport(table=table, verdicts=(Verdict(text=text, met=share < OVERHEAD_TARGET),))


def measure_slots(folder: Path, arguments: argparse.Namespace) -> PartReport:
    """Measure how busy many simulated GPUs are."""
    slots = arguments.nodes * arguments.gpus_per_node
    epochs = round(arguments.sleep_s)  # one report per second
    setting = SleepingSearch(
        trials=slots * arguments.rounds,
        epochs=epochs,
        sleep=Sleep(epoch_s=arguments.sleep_s / epochs, spread=0.3, checkpoint_every=epochs),
    )
    with simulated_cluster(arguments.nodes, arguments.gpus_per_node) as address:
        resources = ResourcesConfig(address=address, cpus_per_trial=1.0, gpus_per_trial=1.0)
        with ray_cluster(resources, NullProgress()):
            run_sleeping(folder / "slots", setting, resources, NullProgress())
    row = usage_of(folder / "slots", slots)
    text = f"{slots} simulated GPUs are busy {row['busy']:.1f} % of the time (target: at least 95 %)"
    title = (
        f"{slots} simulated GPUs on {arguments.nodes} nodes of one machine, trials of {arguments.sleep_s:.0f} s +- 30 %"
    )
    table = Table(title=title, columns=SLOT_COLUMNS, rows=(row,))
    return PartReport(table=table, verdicts=(Verdict(text=text, met=row["busy"] >= 100 * BUSY_TARGET),))
