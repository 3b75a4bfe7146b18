"""What a search costs beside training: proposals in long studies, Ray's overhead, slots kept busy on many GPUs.

`ask`: seconds of a proposal and of booking a result, in the real study in a real SQLite file, when it holds 10 to
5,000 trials, and the driver's memory; costs of candidates are counted on paper, and what counting them takes is shown
apart. `overhead`: trials that do nothing, through the real driver and Ray Tune. `slots`: a local Ray cluster of several
nodes with made-up GPUs and workers that sleep and import no torch; how much of the slots' time is slept through.

    python benchmarks/search_scale.py [--parts ask overhead slots] [--nodes 8] [--gpus-per-node 8]
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

from benchmarks.common.cost_estimator import PaperCostEstimator
from benchmarks.common.process import memory_of
from benchmarks.common.program import Column, Report, Table, Verdict, add_common_arguments, conditions, publish
from benchmarks.scale.sleeping import Sleep, complete_record, point_after
from benchmarks.scale.sleeping_search import (
    OBJECTIVES,
    SHAPE,
    STUDY,
    RandomProposer,
    Sleeping,
    make_proposer,
    run_sleeping,
)
from benchmarks.scale.slots import made_up_cluster, spans_of, usage_of
from nas_distill.callbacks import NullProgress
from nas_distill.config import ResourcesConfig
from nas_distill.models.cost import measure_cost
from nas_distill.records import Recipe, TrialRecord
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.cluster import ray_cluster
from nas_distill.search.study.ledger import StudyLedger
from search_spaces import resnet

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
    Column("memory_mib", "driver, MiB", "{:.0f}"),
)
OVERHEAD_COLUMNS = (
    Column("slept_s", "a trial sleeps, s", "{:.0f}"),
    Column("trials", "trials", "{}"),
    Column("slot_s", "slot-seconds per trial", "{:.3f}"),
    Column("overhead_ms", "of which not slept, ms", "{:.0f}"),
)
SLOT_COLUMNS = (
    Column("slots", "slots", "{}"),
    Column("trials", "trials", "{}"),
    Column("busy", "busy, all slots begun to last hand-out, %", "{:.1f}"),
    Column("busy_overall", "busy, from first to last second, %", "{:.1f}"),
    Column("gap_s", "between two trials of a slot, median s", "{:.2f}"),
    Column("ramp_s", "until all slots had begun, s", "{:.0f}"),
    Column("torch", "workers with torch", "{}"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a part found."""

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="of the study, ascending")
    parser.add_argument("--repeats", type=int, default=30, help="proposals measured at each size")
    parser.add_argument("--trials", type=int, default=100, help="that do nothing")
    parser.add_argument("--trial-s", type=int, default=30, help="of a trial that reports every second")
    parser.add_argument("--long-rounds", type=int, default=6, help="such trials per slot")
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--gpus-per-node", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=4, help="trials per slot")
    parser.add_argument("--sleep-s", type=float, default=120.0, help="of a trial on made-up GPUs, on average")
    parser.add_argument("--seed", type=int, default=0)
    add_common_arguments(parser)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.sizes, arguments.repeats, arguments.trials = [10, 30], 3, 6
        arguments.trial_s, arguments.long_rounds = 3, 2
        arguments.nodes, arguments.gpus_per_node, arguments.rounds, arguments.sleep_s = 2, 1, 2, 2.0
    return arguments


def measure_asking(folder: Path, arguments: argparse.Namespace) -> Found:
    """Measures proposals and results in studies of several sizes, with a fixed recipe and with searched ones."""
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
            f"recipe {recipes}: from {small:,} to {large:,} trials a proposal grows as n^{exponent:.2f} (target: no "
            f"faster than log n, here n^{of_log:.2f})"
        )
        verdicts.append(Verdict(text=text, met=exponent <= of_log))
    title = (
        f"Ask and tell of the default sampler, space resnet, curves of {EPOCHS} epochs, SQLite; counting a candidate's "
        f"cost, which is not in it, takes {1000 * cost_s:.0f} ms"
    )
    return Found(table=Table(title=title, columns=ASK_COLUMNS, rows=tuple(rows)), verdicts=tuple(verdicts))


def ask_and_tell(
    folder: Path, recipes: str, arguments: argparse.Namespace
) -> tuple[list[dict[str, Any]], list[TrialTask]]:
    """Returns the table's rows, and what was proposed last."""
    run = RunDirectory(folder)
    run.path.mkdir(parents=True)
    ledger = StudyLedger(run.own_storage, STUDY, OBJECTIVES, arguments.seed)
    cost_estimator = PaperCostEstimator(SHAPE)
    proposer = make_proposer(
        ledger,
        resnet.space,
        cost_estimator=cost_estimator,
        recipe=Recipe(epochs=EPOCHS),
        recipes=recipes,
        seed=arguments.seed,
    )
    rows = []
    tasks: list[TrialTask] = []
    for size in arguments.sizes:
        fill(proposer, ledger, size)
        asked: list[float] = []
        told: list[float] = []
        tasks = []
        for _ in range(arguments.repeats):
            begun, measuring = time.perf_counter(), cost_estimator.measuring_s
            tasks.append(proposer.next())
            asked.append(time.perf_counter() - begun - (cost_estimator.measuring_s - measuring))
            record = slept(tasks[-1])
            begun = time.perf_counter()
            ledger.tell(record)
            told.append(time.perf_counter() - begun)
        ask, tell = 1000 * np.percentile(asked, [50, 95]), 1000 * np.percentile(told, [50, 95])
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
    """Adds random trials until the study holds `size`, those refused included."""
    while ledger.num_trials < size:
        ledger.tell(slept(proposer.next_at_random()))


def slept(task: TrialTask) -> TrialRecord:
    """Returns the record of a trial that was trained to its end."""
    curve = [point_after(task.cost.num_params, epoch, 1.0) for epoch in range(1, EPOCHS + 1)]
    return complete_record(task, curve)


def seconds_per_cost(tasks: Sequence[TrialTask]) -> float:
    """Returns the median seconds of counting what a candidate costs by building it."""
    seconds = []
    for task in tasks:
        begun = time.perf_counter()
        measure_cost(task.spec, num_classes=10, channels=1, image_size=8)
        seconds.append(time.perf_counter() - begun)
    return float(np.median(seconds))


def measure_overhead(folder: Path, arguments: argparse.Namespace) -> Found:
    """Measures trials that do nothing, and trials that report every second."""
    slots, seconds_each = 2, arguments.trial_s
    nothing, every_second = Sleep(epoch_s=0.0, checkpoint_every=1000), Sleep(epoch_s=1.0, checkpoint_every=5)
    plans = (
        Sleeping(trials=arguments.trials, epochs=1, sleep=nothing),
        Sleeping(trials=slots * arguments.long_rounds, epochs=seconds_each, sleep=every_second),
    )
    rows = []
    resources = ResourcesConfig(max_parallel_trials=slots, gpus_per_trial=0.0)
    for wanted in plans:
        place = folder / f"overhead-{wanted.epochs}"
        with ray_cluster(resources):
            run_sleeping(place, wanted, resources, NullProgress())
        spans = spans_of(place)
        # The first trial of each worker waits for the process to start, which happens once.
        steady = spans[slots:]
        seconds = slots * (max(span.ended for span in steady) - steady[0].begun) / len(steady)
        slept_s = wanted.epochs * wanted.sleep.epoch_s
        overhead_ms = 1000 * (seconds - slept_s)
        rows.append({"slept_s": slept_s, "trials": len(steady), "slot_s": seconds, "overhead_ms": overhead_ms})
    share = rows[-1]["overhead_ms"] / 1000 / seconds_each
    text = (
        f"a trial that does nothing takes {rows[0]['overhead_ms']:.0f} ms of its slot; one of {seconds_each} s that "
        f"reports every second takes {share:.1%} more than its sleep (target: under 10 %)"
    )
    table = Table(title=f"Trials through Ray, {slots} at a time", columns=OVERHEAD_COLUMNS, rows=tuple(rows))
    return Found(table=table, verdicts=(Verdict(text=text, met=share < OVERHEAD_TARGET),))


def measure_slots(folder: Path, arguments: argparse.Namespace) -> Found:
    """Measures how busy many made-up GPUs are kept."""
    slots = arguments.nodes * arguments.gpus_per_node
    epochs = round(arguments.sleep_s)  # one a second, each reported
    wanted = Sleeping(
        trials=slots * arguments.rounds,
        epochs=epochs,
        sleep=Sleep(epoch_s=arguments.sleep_s / epochs, spread=0.3, checkpoint_every=epochs),
    )
    with made_up_cluster(arguments.nodes, arguments.gpus_per_node) as address:
        resources = ResourcesConfig(address=address, cpus_per_trial=1.0, gpus_per_trial=1.0)
        with ray_cluster(resources):
            run_sleeping(folder / "slots", wanted, resources, NullProgress())
    row = usage_of(folder / "slots", slots)
    text = f"{slots} made-up GPUs are busy {row['busy']:.1f} % of the time (target: at least 95 %)"
    title = (
        f"{slots} made-up GPUs on {arguments.nodes} nodes of one machine, trials of {arguments.sleep_s:.0f} s +- 30 %"
    )
    table = Table(title=title, columns=SLOT_COLUMNS, rows=(row,))
    return Found(table=table, verdicts=(Verdict(text=text, met=row["busy"] >= 100 * BUSY_TARGET),))
