"""Measure where an epoch of distillation spends its time: time per part, and the most expensive operations.

One epoch warms up. Then the parts are timed for several epochs (the medians are reported), and the operations are
profiled for one more epoch with torch.profiler.

    python -m benchmarks.step_cost.epoch_profile [--student CNN] [--threads 1] [--device cuda]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.common.materials import HINTON, SMALL_TEACHER, STUDENTS, Material
from benchmarks.common.program import (
    Column,
    Report,
    Table,
    Verdict,
    benchmark_parser,
    conditions,
    describe,
    median,
    publish,
)
from benchmarks.step_cost.stopwatch import EVALUATION, Stopwatch
from nas_distill.config import DataConfig
from nas_distill.knowledge.targets import StoredTargets
from nas_distill.records import Recipe
from nas_distill.train.loop import Trainer

SEED = 0
REST = "rest of the loop"
PART_COLUMNS = (
    Column("part", "part"),
    Column("ms_per_step", "ms per step", "{:.3f}"),
    Column("share_percent", "share, %", "{:.1f}"),
)
OPERATION_COLUMNS = (
    Column("name", "operation"),
    Column("self_ms_per_step", "self time, ms per step", "{:.3f}"),
    Column("share_percent", "share, %", "{:.1f}"),
    Column("calls_per_step", "calls per step", "{:.1f}"),
)


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as scratch:
        report = measure(arguments, Path(scratch))
    publish(report, arguments)


def parse() -> argparse.Namespace:
    parser = benchmark_parser("step_cost.epoch_profile", __doc__)
    parser.add_argument("--student", choices=tuple(STUDENTS), default=next(iter(STUDENTS)), help="student to train")
    parser.add_argument("--threads", type=int, default=1, help="torch threads  [default: 1]")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="device  [default: cpu]")
    parser.add_argument("--batch-size", type=int, default=64, help="batch size  [default: 64]")
    parser.add_argument("--epochs", type=int, default=7, help="number of timed epochs  [default: 7]")
    parser.add_argument("--operations", type=int, default=15, help="number of operations to list  [default: 15]")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.batch_size, arguments.epochs = 256, 2
    return arguments


def measure(arguments: argparse.Namespace, folder: Path) -> Report:
    device = torch.device(arguments.device)
    material = Material.prepare(DataConfig(image_size=32), folder)
    spec = STUDENTS[arguments.student]
    knowledge, plan = material.knowledge(material.untrained_teacher(SMALL_TEACHER).to(device), views=3, device=device)
    network = material.network(spec, SEED)
    trainer = Trainer(
        network,
        recipe=Recipe(**HINTON, epochs=1000, batch_size=arguments.batch_size),
        data=material.training_data(plan),
        targets=StoredTargets(knowledge, device),
        reference=None,
        seed=SEED,
        device=device,
    )
    trainer.run_epoch()
    steps = material.train.num_images // arguments.batch_size
    parts = watch(trainer, network, device, steps=steps, epochs=arguments.epochs)
    operations = top_operations(trainer, device, steps, arguments.operations)
    subject = f"{arguments.student} student, batch {arguments.batch_size} of 1x32x32, {steps} steps"
    return Report(
        name=f"step_cost/epoch_profile-{arguments.device}",
        tables=(
            Table(title=f"Epoch by part: {subject}", columns=PART_COLUMNS, rows=tuple(parts)),
            Table(title=f"Operations by self time: {subject}", columns=OPERATION_COLUMNS, rows=tuple(operations)),
        ),
        verdicts=(overhead(parts),),
        conditions=conditions(
            seed=SEED,
            threads=arguments.threads,
            device=arguments.device,
            execution=describe(trainer.execution),
        ),
    )


def watch(
    trainer: Trainer, network: torch.nn.Module, device: torch.device, *, steps: int, epochs: int
) -> list[dict[str, Any]]:
    """Return the time of each part of an epoch, medians over `epochs` epochs, the longest part first."""
    stopwatch = Stopwatch(device)
    watched: list[dict[str, float]] = []
    with stopwatch.watching(network):
        for _ in range(epochs):
            stopwatch.seconds.clear()
            started = time.perf_counter()
            trainer.run_epoch()
            total = time.perf_counter() - started
            parts = dict(stopwatch.seconds)
            watched.append({**parts, REST: total - sum(parts.values())})
    seconds = {part: median([parts[part] for parts in watched]) for part in watched[0]}
    total = sum(seconds.values())
    return [
        {"part": part, "ms_per_step": 1000 * value / steps, "share_percent": 100 * value / total}
        for part, value in sorted(seconds.items(), key=lambda item: -item[1])
    ]


def top_operations(trainer: Trainer, device: torch.device, steps: int, count: int) -> list[dict[str, Any]]:
    """Return the operations with the most self time in one epoch, evaluation included."""
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        trainer.run_epoch()
    spent = {
        event.key: (event.self_device_time_total if on_gpu else event.self_cpu_time_total, event.count)
        for event in profiler.key_averages()
    }
    total = sum(microseconds for microseconds, _ in spent.values())
    return [
        {
            "name": name,
            "self_ms_per_step": microseconds / 1000 / steps,
            "share_percent": 100 * microseconds / total,
            "calls_per_step": calls / steps,
        }
        for name, (microseconds, calls) in sorted(spent.items(), key=lambda item: -item[1][0])[:count]
    ]


def overhead(parts: list[dict[str, Any]]) -> Verdict:
    """Return the time of a step beyond the student's forward pass, backward pass and optimiser step."""
    spent = {entry["part"]: entry["ms_per_step"] for entry in parts}
    student = sum(spent.get(part, 0.0) for part in ("forward", "backward", "optimiser"))
    besides = sum(spent.values()) - student - spent.get(EVALUATION, 0.0)
    return Verdict(
        text=f"Forward, backward and optimiser take {student:.2f} ms per step; everything else except the evaluation "
        f"takes {besides:.2f} ms ({100 * besides / student:.1f} % on top)"
    )


if __name__ == "__main__":
    main()
