"""Trials per hour with 1, 2, 4 and 8 trials at once on one GPU, for a student of 100k and one of 2M parameters.

Each process runs whole trials (`nas_distill.trial.run.run_trial`) on a run directory that all share, one after another,
without Ray and without NVIDIA's MPS. All processes are started and warmed up before anything is timed, and wait while
fewer are asked for. A round takes all numbers of processes in turn.

    python benchmarks/packing.py [--rounds 5] [--epochs 20] [--at-once 1 2 4 8]
    python benchmarks/packing.py --device cpu --quick           # tries the program itself, without a GPU

Without a GPU it ends with exit code 2.
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
    add_common_arguments,
    conditions,
    interleaved,
    median,
    publish,
)
from nas_distill.callbacks import NullProgress
from nas_distill.config import LOCAL_DIR, DataConfig, ViewsConfig
from nas_distill.models.cost import measure_cost
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
    Column("at_once", "trials at once"),
    Column("trials_per_hour", "trials per hour", "{:,.0f}"),
    Column("times_one", "times one at a time", "{:.2f}"),
    Column("seconds_per_trial", "seconds a trial takes", "{:.1f}"),
    Column("range", "range of rounds, trials per hour"),
    Column("host_memory_mib", "host memory, MiB", "{:,.0f}"),
    Column("gpu_memory_mib", "GPU memory of torch, MiB", "{:,.0f}"),
)


@dataclass(frozen=True, slots=True)
class Job:
    """What a process is asked to do: so many trials of one student, numbered from `first`."""

    spec: StudentSpec
    first: int
    trials: int


@dataclass(frozen=True, slots=True)
class Done:
    """What it answers, or why it cannot."""

    host_bytes: int = 0
    gpu_bytes: int = 0
    error: str = ""


def main() -> None:
    arguments = parse()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print(
            "packing.py: this machine has no CUDA GPU, and packing is about sharing one; nothing was measured "
            "(--device cpu --quick tries the program itself)",
            file=sys.stderr,
        )
        raise SystemExit(EXIT_NO_CUDA)
    with tempfile.TemporaryDirectory() as scratch:
        report = measure(arguments, Path(scratch))
    publish(report, arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--students", nargs="+", choices=tuple(STUDENTS), default=list(STUDENTS))
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--epochs", type=int, default=10, help="per trial")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--trials", type=int, default=1, help="per process and measurement")
    parser.add_argument("--rounds", type=int, default=5)
    add_common_arguments(parser)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.images, arguments.epochs, arguments.rounds = 128, 2, 1
        arguments.at_once, arguments.students = [1, 2], [SMALL]
    return arguments


def measure(arguments: argparse.Namespace, folder: Path) -> Report:
    worker_config = prepare(arguments, folder)
    recipe = Recipe(**HINTON, epochs=arguments.epochs, batch_size=arguments.batch_size)
    crew = Crew(worker_config, recipe, max(arguments.at_once))
    try:
        for name in arguments.students:  # every process, once: kernels are chosen and the data comes to the device
            crew.seconds(STUDENTS[name], at_once=max(arguments.at_once), trials=1)
        tables = {name: measured(crew, STUDENTS[name], name, arguments) for name in arguments.students}
    finally:
        crew.dismiss()
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
    """Makes a run directory: images, a teacher of one epoch and its answers."""
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


class Crew:
    """Processes that run trials when asked.

    Args:
        worker_config: The run directory that they share.
        recipe: Of all trials.
        size: How many.
    """

    def __init__(self, worker_config: WorkerConfig, recipe: Recipe, size: int) -> None:
        context = get_context("spawn")  # a forked process cannot use CUDA
        self._lines: list[Connection] = []
        self._processes = []
        self._next_trial = 0
        for _ in range(size):
            mine, theirs = context.Pipe()
            process = context.Process(target=work, args=(worker_config, recipe, theirs), daemon=True)
            process.start()
            self._lines.append(mine)
            self._processes.append(process)
        self.last: list[Done] = []

    def seconds(self, spec: StudentSpec, *, at_once: int, trials: int) -> float:
        """Returns how long `at_once` processes take for `trials` trials each.

        Raises:
            RuntimeError: A trial failed, or a process died.
        """
        started = time.perf_counter()
        for line in self._lines[:at_once]:
            line.send(Job(spec, self._next_trial, trials))
            self._next_trial += trials
        try:
            self.last = [line.recv() for line in self._lines[:at_once]]
        except EOFError as error:
            raise RuntimeError("a process of the crew died") from error
        elapsed = time.perf_counter() - started
        for done in self.last:
            if done.error:
                raise RuntimeError(done.error)
        return elapsed

    def dismiss(self) -> None:
        """Ends the processes."""
        for process in self._processes:
            process.terminate()
            process.join()


def work(worker_config: WorkerConfig, recipe: Recipe, line: Connection) -> None:
    """What a process of the crew does, until it is ended."""
    context = open_context(worker_config)
    run = RunDirectory(Path(worker_config.run))
    manifest = context.manifest
    while True:
        job: Job = line.recv()
        cost = measure_cost(
            job.spec, num_classes=manifest.num_classes, channels=manifest.channels, image_size=manifest.image_size
        )
        error = ""
        for number in range(job.first, job.first + job.trials):
            task = TrialTask(number=number, seed=number, spec=job.spec, recipe=recipe, cost=cost)
            error = run_trial(task, context, run.trial(number)).error or error
        gpu_bytes = torch.cuda.max_memory_reserved() if worker_config.cuda else 0
        line.send(Done(host_bytes=memory_of("self"), gpu_bytes=gpu_bytes, error=error))


def measured(crew: Crew, spec: StudentSpec, name: str, arguments: argparse.Namespace) -> Table:
    memory: dict[int, list[Done]] = {}

    def asked(at_once: int) -> float:
        taken = crew.seconds(spec, at_once=at_once, trials=arguments.trials)
        memory[at_once] = crew.last
        return taken

    contenders = {str(at_once): (lambda count=at_once: asked(count)) for at_once in arguments.at_once}
    seconds = interleaved(contenders, arguments.rounds, warm_up=0)
    rates = {
        at_once: [3600 * at_once * arguments.trials / taken for taken in seconds[str(at_once)]]
        for at_once in arguments.at_once
    }
    one = median(rates[1]) if 1 in rates else None
    rows: list[dict[str, Any]] = [
        {
            "at_once": at_once,
            "trials_per_hour": median(values),
            "times_one": None if one is None else median(values) / one,
            "seconds_per_trial": 3600 * at_once / median(values),
            "range": f"{min(values):,.0f} to {max(values):,.0f}",
            "host_memory_mib": sum(done.host_bytes for done in memory[at_once]) / 2**20,
            "gpu_memory_mib": sum(d.gpu_bytes for d in memory[at_once]) / 2**20 if arguments.device == "cuda" else None,
        }
        for at_once, values in rates.items()
    ]
    parameters = measure_cost(spec, num_classes=10, channels=3, image_size=32).num_params
    return Table(title=f"Packing: {name} student ({parameters:,} parameters)", columns=COLUMNS, rows=tuple(rows))


def judge(name: str, table: Table) -> Verdict:
    known = [row for row in table.rows if row["times_one"] is not None]
    if not known:
        return Verdict(text=f"{name} student: one at a time was not measured, nothing to compare with")
    best = max(known, key=lambda row: row["times_one"])
    text = (
        f"{name} student: {best['at_once']} at once give {best['times_one']:.2f} times the trials per hour of one at "
        "a time"
    )
    if name != SMALL:
        return Verdict(text=text)
    return Verdict(text=f"{text} (target: at least {TARGET:.0f})", met=best["times_one"] >= TARGET)
