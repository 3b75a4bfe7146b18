"""Measure the cost of a distillation step: bare student, stored teacher outputs, online teacher, and two peers.

- Floor: forward, cross-entropy, backward and optimiser step on tensors that are already on the device, with the same
  batches, threads and precision.
- nas_distill ("ours"): an epoch of `Trainer` with views, distillation loss and moving average, without its evaluation.
- Peers: torchdistill's box and a plain loop around timm, both with torchvision's transforms in a multi-worker loader.

Each round runs one epoch of every contender. A first round (image decoding, precision probe, warm-up) is discarded.

    python -m benchmarks.step_cost [--rounds 5] [--threads 1] [--device cuda]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.common.materials import (
    HINTON,
    SMALL_TEACHER,
    STUDENTS,
    Material,
    make_image_folder,
)
from benchmarks.common.program import (
    Column,
    Report,
    Table,
    Verdict,
    benchmark_parser,
    conditions,
    describe,
    interleaved,
    median,
    publish,
)
from benchmarks.step_cost.contenders import PLAIN, SEED, TEACHERS, Bench, Contender
from nas_distill.config import DataConfig, ExecutionConfig
from nas_distill.knowledge.targets import StoredTargets
from nas_distill.records import Recipe, StudentSpec

VIEWS, IMAGE_SIZE = 2, 32
FLOOR_TARGET = 1.05
PEER_TARGET = 8.0
COLUMNS = (
    Column("name", "contender"),
    Column("execution", "precision"),
    Column("ms_per_step", "ms per step", "{:.2f}"),
    Column("times_floor", "times the floor of its precision", "{:.2f}"),
    Column("least_ms", "fastest round", "{:.2f}"),
    Column("most_ms", "slowest round", "{:.2f}"),
)


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as scratch:
        report = measure(arguments, Path(scratch))
    publish(report, arguments)


def parse() -> argparse.Namespace:
    parser = benchmark_parser("step_cost", __doc__)
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds  [default: 5]")
    parser.add_argument("--threads", type=int, default=1, help="torch threads  [default: 1]")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="device  [default: cpu]")
    parser.add_argument("--images", type=int, help="images per epoch  [default: 512 on a CPU, 8192 on a GPU]")
    parser.add_argument("--batch-size", type=int, default=64, help="batch size  [default: 64]")
    parser.add_argument(
        "--workers", type=int, default=min(8, os.cpu_count() or 1), help="workers of the peers' data loaders"
    )
    parser.add_argument(
        "--students", nargs="+", choices=tuple(STUDENTS), default=list(STUDENTS), help="students  [default: all]"
    )
    parser.add_argument(
        "--teachers", nargs="+", choices=tuple(TEACHERS), default=list(TEACHERS), help="teachers  [default: all]"
    )
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.images, arguments.batch_size = 1, 64, 16
    if arguments.images is None:
        arguments.images = 512 if arguments.device == "cpu" else 8192
    return arguments


def measure(arguments: argparse.Namespace, folder: Path) -> Report:
    source = make_image_folder(folder / "images", images=arguments.images, image_size=IMAGE_SIZE)
    material = Material.prepare(DataConfig(source=f"folder:{source}"), folder / "run")
    tables, verdicts = [], []
    for name in arguments.students:
        contenders = gather(arguments, material, STUDENTS[name])
        rows = measured_rows(contenders, arguments)
        title = (
            f"One step, {name} student ({material.parameters(STUDENTS[name]):,} parameters), batch "
            f"{arguments.batch_size} of 3x{IMAGE_SIZE}x{IMAGE_SIZE}"
        )
        tables.append(Table(title=title, columns=COLUMNS, rows=tuple(rows)))
        verdicts += judge(name, rows)
    return Report(
        name=f"step_cost/{arguments.device}",
        tables=tuple(tables),
        verdicts=tuple(verdicts),
        conditions=conditions(
            seed=SEED,
            threads=arguments.threads,
            device=arguments.device,
            rounds=arguments.rounds,
            steps_per_epoch=arguments.images // arguments.batch_size,
            loader_workers_of_peers=arguments.workers,
            **{
                name.replace(" ", "_"): f"{material.parameters(TEACHERS[name]):,} parameters"
                for name in arguments.teachers
            },
        ),
    )


def gather(arguments: argparse.Namespace, material: Material, spec: StudentSpec) -> dict[str, Contender]:
    """Return the contenders by name, floors first."""
    device = torch.device(arguments.device)
    recipe = Recipe(**HINTON, epochs=1000, batch_size=arguments.batch_size)  # long enough to be probed
    first = material.untrained_teacher(SMALL_TEACHER)
    knowledge, plan = material.knowledge(first.to(device), views=VIEWS, device=device)
    bench = Bench(material=material, spec=spec, recipe=recipe, plan=plan, device=device)
    stored = StoredTargets(knowledge, device)
    trainer, epoch = bench.ours(stored, ExecutionConfig())
    epoch()  # probes the precision, which is also the precision of the floor
    chosen = trainer.execution
    contenders = {"floor": Contender(epoch=bench.floor(PLAIN), execution=PLAIN, role="floor")}
    if chosen != PLAIN:
        contenders["floor, same precision as ours"] = Contender(
            epoch=bench.floor(chosen), execution=chosen, role="floor"
        )
        plain = ExecutionConfig().without_probe()
        contenders["ours, stored outputs, no probe"] = Contender(
            epoch=bench.ours(stored, plain)[1], execution=PLAIN, role="stored"
        )
    contenders["ours, stored outputs"] = Contender(epoch=epoch, execution=chosen, role="stored")
    for name in arguments.teachers:
        contenders |= bench.with_teacher(name, workers=arguments.workers)
    return contenders


def measured_rows(contenders: dict[str, Contender], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    # Short epochs run three times per round: the tightest target is about their ratio.
    repeats = {name: 3 for name, contender in contenders.items() if contender.role in {"floor", "stored"}}
    epochs = {name: contender.epoch for name, contender in contenders.items()}
    seconds = interleaved(epochs, arguments.rounds, repeats=repeats)
    steps = arguments.images // arguments.batch_size
    floors = {c.execution: median(seconds[name]) for name, c in contenders.items() if c.role == "floor"}
    return [
        {
            "name": name,
            "execution": describe(contender.execution),
            "ms_per_step": 1000 * median(times) / steps,
            "times_floor": median(times) / floors[contender.execution] if contender.execution in floors else None,
            "least_ms": 1000 * min(times) / steps,
            "most_ms": 1000 * max(times) / steps,
            "role": contender.role,
            "teacher": contender.teacher,
        }
        for name, contender in contenders.items()
        for times in (seconds[name],)
    ]


def judge(student: str, rows: list[dict[str, Any]]) -> list[Verdict]:
    stored = next(row for row in rows if row["name"] == "ours, stored outputs")
    verdicts = [
        Verdict(
            text=f"{student}: a step with stored outputs takes {stored['times_floor']:.3f} times the floor in "
            f"{stored['execution']} "
            f"(target: at most {FLOOR_TARGET})",
            met=stored["times_floor"] <= FLOOR_TARGET,
        )
    ]
    for row in rows:
        if row["role"] in {"torchdistill", "timm"}:
            ratio = row["ms_per_step"] / stored["ms_per_step"]
            is_target = row["role"] == "torchdistill" and row["teacher"] == "large teacher"
            text = f"{student}: a step with stored outputs is {ratio:.1f} times faster than {row['name']}"
            if is_target:
                text += f" (target: at least {PEER_TARGET:.0f})"
            verdicts.append(Verdict(text=text, met=ratio >= PEER_TARGET if is_target else None))
    online = any(row["role"] == "online" for row in rows)
    if online and not any(row["role"] == "torchdistill" for row in rows):
        text = f"{student}: torchdistill was not measured; install it with: pip install '.[bench]'"
        verdicts.append(Verdict(text=text))
    return verdicts
