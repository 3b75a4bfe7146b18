"""Measure trials per hour with 1, 2, 4 and 8 trials in parallel on one GPU, for students of 100k and 2M parameters.

Each process runs whole trials (`nas_distill.trial.run.run_trial`) one after another on a shared run directory, without
Ray and without NVIDIA's MPS. All processes are started and warmed up before the measurement; those that are not needed
wait. Each round measures every number of processes once.

    python -m benchmarks.packing [--rounds 5] [--epochs 20] [--parallel 1 2 4 8]
    python -m benchmarks.packing --device cpu --quick           # checks the program on a machine without a GPU

The exit status is 2 without a GPU.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing import get_context

from benchmarks.common.materials import HINTON, SMALL_TEACHER, Material, make_image_folder
from benchmarks.common.process import memory_of
from benchmarks.common.program import (
    EXIT_NO_CUDA,
    Column,
    Report,
    Table,
    Verdict,
    benchmark_parser,
    conditions,
    interleaved,
    median,
    publish,
)
from nas_distill.callbacks import NullProgress
from nas_distill.config import LOCAL_DIR, DataConfig, ViewsConfig
from nas_distill.models.costs.cost import measure_cost
from nas_distill.models.teacher import load_teacher
from nas_distill.records import Recipe, StudentSpec
from nas_distill.records.task import TrialTask, source_name
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.train.teacher import fit_teacher
from nas_distill.trial.context import WorkerConfig, open_context
from nas_distill.trial.run import run_trial

SMALL, LARGE = "100k", "2M"
STUDENTS = {
    SMALL: StudentSpec(architecture="small_resnet", arguments={"widths": (18, 36, 72), "depths": (1, 1, 1)}),
    LARGE: StudentSpec(architecture="small_resnet", arguments={"widths": (56, 112, 224), "depths": (2, 2, 2)}),
}
TARGET = 3.0
VIEWS = 4
COLUMNS = (
    Column("parallel", "parallel trials"),
    Column("trials_per_hour", "trials per hour", "{:,.0f}"),
    Column("times_one", "times one trial", "{:.2f}"),
    Column("seconds_per_trial", "seconds per trial", "{:.1f}"),
    Column("range", "range of rounds, trials per hour"),
    Column("host_memory_mib", "host memory, MiB", "{:,.0f}"),
    Column("gpu_memory_mib", "GPU memory of torch, MiB", "{:,.0f}"),
)


@dataclass(frozen=True, slots=True)
class Job:
    """Work for a process: a number of trials of one student, numbered from `first`."""

    spec: StudentSpec
    first: int
    trials: int


@dataclass(frozen=True, slots=True)
class Done:
    """Memory use of a process after its trials, or the error of a failed trial."""

    host_bytes: int = 0
    gpu_bytes: int = 0
    error: str = ""


def main() -> None:
    arguments = parse()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print(
            "packing: there is no CUDA GPU to share; nothing was measured "
            "(use --device cpu --quick to check the program)",
            file=sys.stderr,
        )
        raise SystemExit(EXIT_NO_CUDA)
    with tempfile.TemporaryDirectory() as scratch:
        report = measure(arguments, Path(scratch))
    publish(report, arguments)


def parse() -> argparse.Namespace:
    parser = benchmark_parser("packing", __doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda", help="device  [default: cuda]")
    parser.add_argument("--parallel", type=int, nargs="+", default=[1, 2, 4, 8], help="numbers of parallel trials")
    parser.add_argument(
        "--students", nargs="+", choices=tuple(STUDENTS), default=list(STUDENTS), help="students  [default: all]"
    )
    parser.add_argument("--images", type=int, default=4096, help="training images  [default: 4096]")
    parser.add_argument("--epochs", type=int, default=10, help="epochs per trial  [default: 10]")
    parser.add_argument("--batch-size", type=int, default=64, help="batch size  [default: 64]")
    parser.add_argument("--trials", type=int, default=1, help="trials per process and measurement  [default: 1]")
    parser.add_argument("--rounds", type=int, default=5, help="rounds  [default: 5]")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.images, arguments.epochs, arguments.rounds = 128, 2, 1
        arguments.parallel, arguments.students = [1, 2], [SMALL]
    return arguments


def measure(arguments: argparse.Namespace, folder: Path) -> Report:
    worker_config = prepare(arguments, folder)
    recipe = Recipe(**HINTON, epochs=arguments.epochs, batch_size=arguments.batch_size)
    pool = WorkerPool(worker_config, recipe, max(arguments.parallel))
    try:
        for name in arguments.students:  # warm up every process: CUDA kernels are chosen, data moves to the device
            pool.seconds(STUDENTS[name], parallel=max(arguments.parallel), trials=1)
        tables = {name: measured(pool, STUDENTS[name], name, arguments) for name in arguments.students}
    finally:
        pool.close()
    return Report(
        name=f"packing/packing-{arguments.device}",
        tables=tuple(tables.values()),
        verdicts=tuple(judge(name, table) for name, table in tables.items()),
        conditions=conditions(
            seed=0,
            threads=1,
            device=arguments.device,
            rounds=arguments.rounds,
            images=arguments.images,
            epochs_per_trial=arguments.epochs,
            batch_size=arguments.batch_size,
        ),
    )


def prepare(arguments: argparse.Namespace, folder: Path) -> WorkerConfig:
    """Make a run directory with images, a teacher trained for one epoch, and its stored outputs."""
    device = torch.device(arguments.device)
    source = make_image_folder(folder / "images", images=arguments.images, image_size=32)
    config = DataConfig(source=f"folder:{source}")
    material = Material.prepare(config, folder / "run")
    run = RunDirectory(material.folder)
    fit_teacher(
        SMALL_TEACHER.architecture,
        run.teacher,
        arguments=SMALL_TEACHER.keyword_arguments(),
        recipe=Recipe(losses={}, label_weight=1.0, epochs=1),
        splits=(material.train, material.validation),
        views=ViewsConfig(),
        seed=0,
        device=device,
        progress=NullProgress(),
    )
    names, channels = material.manifest.class_names, material.manifest.channels
    teacher = load_teacher(f"{LOCAL_DIR}{run.teacher}", class_names=names, channels=channels)
    knowledge, _ = material.knowledge(teacher.to(device), views=VIEWS, device=device)
    return WorkerConfig(
        run=str(run.path),
        data=config,
        knowledge={source_name(None, "none"): knowledge.folder.name},
        threads=1,
        cuda=device.type == "cuda",
    )


class WorkerPool:
    """Processes that run trials on demand.

    Args:
        worker_config: Shared run directory and device.
        recipe: Recipe of all trials.
        size: Number of processes.
    """

    def __init__(self, worker_config: WorkerConfig, recipe: Recipe, size: int) -> None:
        context = get_context("spawn")  # a forked process cannot use CUDA
        self._connections: list[Connection] = []
        self._processes = []
        self._next_trial = 0
        for _ in range(size):
            mine, theirs = context.Pipe()
            process = context.Process(target=work, args=(worker_config, recipe, theirs), daemon=True)
            process.start()
            self._connections.append(mine)
            self._processes.append(process)
        self.last: list[Done] = []

    def seconds(self, spec: StudentSpec, *, parallel: int, trials: int) -> float:
        """Run `trials` trials on each of `parallel` processes and return the wall time.

        Raises:
            RuntimeError: A trial failed, or a process died.
        """
        started = time.perf_counter()
        for connection in self._connections[:parallel]:
            connection.send(Job(spec, self._next_trial, trials))
            self._next_trial += trials
        try:
            self.last = [connection.recv() for connection in self._connections[:parallel]]
        except EOFError as error:
            raise RuntimeError("a worker process died") from error
        elapsed = time.perf_counter() - started
        for done in self.last:
            if done.error:
                raise RuntimeError(done.error)
        return elapsed

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.terminate()
            process.join()


def work(worker_config: WorkerConfig, recipe: Recipe, connection: Connection) -> None:
    """Run jobs from a connection until the process is terminated."""
    context = open_context(worker_config)
    run = RunDirectory(Path(worker_config.run))
    manifest = context.manifest
    while True:
        job: Job = connection.recv()
        cost = measure_cost(
            job.spec, num_classes=manifest.num_classes, channels=manifest.channels, image_size=manifest.image_size
        )
        error = ""
        for number in range(job.first, job.first + job.trials):
            task = TrialTask(number=number, seed=number, spec=job.spec, recipe=recipe, cost=cost)
            error = run_trial(task, context, run.trial(number)).error or error
        gpu_bytes = torch.cuda.max_memory_reserved() if worker_config.cuda else 0
        connection.send(Done(host_bytes=memory_of("self"), gpu_bytes=gpu_bytes, error=error))


def measured(pool: WorkerPool, spec: StudentSpec, name: str, arguments: argparse.Namespace) -> Table:
    memory: dict[int, list[Done]] = {}

    def measure_once(parallel: int) -> float:
        taken = pool.seconds(spec, parallel=parallel, trials=arguments.trials)
        memory[parallel] = pool.last
        return taken

    contenders = {str(parallel): (lambda count=parallel: measure_once(count)) for parallel in arguments.parallel}
    seconds = interleaved(contenders, arguments.rounds, warm_up=0)
    rates = {
        parallel: [3600 * parallel * arguments.trials / taken for taken in seconds[str(parallel)]]
        for parallel in arguments.parallel
    }
    one = median(rates[1]) if 1 in rates else None
    rows: list[dict[str, Any]] = [
        {
            "parallel": parallel,
            "trials_per_hour": median(values),
            "times_one": None if one is None else median(values) / one,
            "seconds_per_trial": 3600 * parallel / median(values),
            "range": f"{min(values):,.0f} to {max(values):,.0f}",
            "host_memory_mib": sum(done.host_bytes for done in memory[parallel]) / 2**20,
            "gpu_memory_mib": sum(d.gpu_bytes for d in memory[parallel]) / 2**20
            if arguments.device == "cuda"
            else None,
        }
        for parallel, values in rates.items()
    ]
    parameters = measure_cost(spec, num_classes=10, channels=3, image_size=32).num_params
    return Table(title=f"Packing: {name} student ({parameters:,} parameters)", columns=COLUMNS, rows=tuple(rows))


def judge(name: str, table: Table) -> Verdict:
    known = [row for row in table.rows if row["times_one"] is not None]
    if not known:
        return Verdict(text=f"{name} student: not compared, because a single trial was not measured")
    best = max(known, key=lambda row: row["times_one"])
    text = (
        f"{name} student: {best['parallel']} parallel trials reach {best['times_one']:.2f} times the trials per hour "
        "of one trial at a time"
    )
    if name != SMALL:
        return Verdict(text=text)
    return Verdict(text=f"{text} (target: at least {TARGET:.0f})", met=best["times_one"] >= TARGET)
