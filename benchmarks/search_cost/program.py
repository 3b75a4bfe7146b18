"""Measure the cost of a search: nas_distill ("ours") against a script with Ray Tune, OptunaSearch, online teacher.

The script is `benchmarks.search_cost.peer_search`. Both train every trial to the end, on digits at 32x32, with the same
teacher weights, recipe, epochs, batch size and number of workers. Both train the same candidates of the space
`tiny` in the same order, so their samplers do not matter.

Wall time is that of the whole program: imports, start of Ray and, for nas_distill, the stored teacher outputs and the
report. The teacher is trained beforehand. CPU time and memory are summed over all processes. Each round runs both sides
once, with a seed of its own.

    python -m benchmarks.search_cost [--teacher small|large|both] [--trials 16] [--rounds 5] [--gpus 0.5]

With the large teacher, a round takes about an hour on two CPU cores, nearly all of it in the peer.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.materials import Material
from benchmarks.common.program import Column, Report, Table, Verdict, benchmark_parser, conditions, median, publish
from benchmarks.search_cost.candidates import write_candidates
from benchmarks.search_cost.sides import (
    IMAGE_SIZE,
    TEACHERS,
    MeasuredSearch,
    SearchTask,
    arrays,
    make_teacher,
    run_ours,
    run_peer,
)
from nas_distill.config import DataConfig

OURS, PEER = "ours", "Ray Tune script"
TARGETS = {"small": 3.0, "large": 8.0}
COST_COLUMNS = (
    Column("name", "search"),
    Column("wall_s", "wall, s", "{:.1f}"),
    Column("range", "range of rounds"),
    Column("cpu_s", "CPU, s", "{:.0f}"),
    Column("gpu_s", "GPU, s", "{:.0f}"),
    Column("peak_memory_mib", "peak memory, MiB", "{:.0f}"),
    Column("trained", "full trainings", "{:.0f}"),
    Column("best_gap_points", "best gap, points", "{:.2f}"),
)
TIME_COLUMNS = (
    Column("name", "search"),
    Column("first_training_s", "to the first training, s", "{:.1f}"),
    Column("fixed_s", "before and after the trials, s", "{:.1f}"),
    Column("per_trial_s", "per trial, s", "{:.2f}"),
    Column("idle_percent", "workers idle, %", "{:.0f}"),
    Column("student_mmacs", "mean student, MMACs", "{:.2f}"),
)


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory() as scratch:
        report = measure(arguments, Path(scratch))
    publish(report, arguments)


def parse() -> argparse.Namespace:
    parser = benchmark_parser("search_cost", __doc__)
    parser.add_argument("--teacher", choices=(*TEACHERS, "both"), default="small", help="teacher  [default: small]")
    parser.add_argument("--teachers", type=Path, help="folder in which to keep trained teachers")
    parser.add_argument("--trials", type=int, default=16, help="trials per search  [default: 16]")
    parser.add_argument("--epochs", type=int, default=12, help="epochs per trial  [default: 12]")
    parser.add_argument("--batch-size", type=int, default=64, help="batch size  [default: 64]")
    parser.add_argument("--workers", type=int, default=2, help="trials in parallel  [default: 2]")
    parser.add_argument("--loader-workers", type=int, default=0, help="loader workers per trial of the peer")
    parser.add_argument("--gpus", type=float, default=0.0, help="GPUs per trial, for both sides  [default: 0]")
    parser.add_argument("--rounds", type=int, default=5, help="searches per side  [default: 5]")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.trials, arguments.epochs, arguments.rounds = 4, 2, 1
    return arguments


def measure(arguments: argparse.Namespace, folder: Path) -> Report:
    material = Material.prepare(DataConfig(image_size=IMAGE_SIZE), folder / "data")
    data = folder / "data.npz"
    np.savez(data, **arrays("train", material.train), **arrays("val", material.validation))
    wanted = list(TEACHERS) if arguments.teacher == "both" else [arguments.teacher]
    tables, verdicts = [], []
    for name in wanted:
        teacher = make_teacher(name, arguments, folder)
        searches: dict[str, list[MeasuredSearch]] = {OURS: [], PEER: []}
        for number in range(arguments.rounds):
            task = SearchTask(
                arguments=arguments,
                teacher=teacher,
                data=data,
                seed=number,
                candidates=write_candidates(folder / f"candidates-{number}", count=arguments.trials, seed=number),
            )
            searches[OURS].append(run_ours(task, folder / f"{name}-ours-{number}"))
            searches[PEER].append(run_peer(task, folder / f"{name}-peer-{number}"))
            print(
                f"{name} teacher, round {number}: "
                + ", ".join(f"{side} {found[-1].usage.wall_s:.1f} s" for side, found in searches.items()),
                flush=True,
            )
        title = (
            f"A search of {arguments.trials} trials, {arguments.epochs} epochs, {arguments.workers} in parallel, "
            f"{name} teacher ({material.parameters(TEACHERS[name][0]):,} parameters)"
        )
        rows = [row(side, found, arguments.workers) for side, found in searches.items()]
        tables.append(Table(title=title, columns=COST_COLUMNS, rows=tuple(rows)))
        tables.append(Table(title=f"Parts of the wall time, {name} teacher", columns=TIME_COLUMNS, rows=tuple(rows)))
        verdicts += judge(name, arguments.trials, searches)
    return Report(
        name="search_cost/" + arguments.teacher + ("-cuda" if arguments.gpus else ""),
        tables=tuple(tables),
        verdicts=tuple(verdicts),
        conditions=conditions(
            seed=list(range(arguments.rounds)),
            threads=1,
            device="cuda" if arguments.gpus else "cpu",
            batch_size=arguments.batch_size,
            gpus_per_trial=arguments.gpus,
            loader_workers_of_peer=arguments.loader_workers,
        ),
    )


def row(side: str, found: Sequence[MeasuredSearch], workers: int) -> dict[str, Any]:
    walls = [search.usage.wall_s for search in found]
    gpu_s = [search.usage.gpu_s for search in found if search.usage.gpu_s is not None]
    return {
        "name": side,
        "wall_s": median(walls),
        "range": f"{min(walls):.1f} to {max(walls):.1f}",
        "cpu_s": median([search.usage.cpu_s for search in found]),
        "gpu_s": median(gpu_s) if gpu_s else None,
        "peak_memory_mib": median([search.usage.peak_memory_bytes for search in found]) / 2**20,
        "first_training_s": median([search.first_training_s for search in found]),
        "fixed_s": median([search.fixed_s for search in found]),
        "per_trial_s": per_trial(found),
        "idle_percent": median([100 * (1 - search.busy_s / (workers * search.trials_s)) for search in found]),
        "trained": median([len(search.gaps) for search in found]),
        "student_mmacs": statistics.fmean(value for search in found for value in search.macs) / 1e6,
        "best_gap_points": median([min(search.gaps) for search in found]),
    }


def per_trial(found: Sequence[MeasuredSearch]) -> float:
    return median([search.trials_s / len(search.gaps) for search in found])


def judge(name: str, trials: int, searches: dict[str, list[MeasuredSearch]]) -> list[Verdict]:
    walls = {side: median([search.usage.wall_s for search in found]) for side, found in searches.items()}
    ratio, target = walls[PEER] / walls[OURS], TARGETS[name]
    head_start = median([s.fixed_s for s in searches[OURS]]) - median([s.fixed_s for s in searches[PEER]])
    gain = per_trial(searches[PEER]) - per_trial(searches[OURS])
    even = "ours never breaks even" if gain <= 0 else f"ours breaks even at {max(head_start / gain, 0.0):.1f} trials"
    return [
        Verdict(
            text=f"{name} teacher, {trials} trials: the peer takes {ratio:.2f} times the wall time (target: at least "
            f"{target:.0f}); {even}",
            met=ratio >= target,
        )
    ]
