"""Measure student accuracy as a function of K, the number of views for which teacher outputs are stored.

With K views, epoch e trains on view e mod K. With K = epochs, every epoch has a new view, as with an online teacher.
Fewer views are cheaper to build and store, but repeat. Teacher, student, recipe and epochs are the same for all K, and
a seed has the same initial weights and image order for all K. The first K views of the largest store are a store of K
views, so it is built once, and each view is timed.

    python -m benchmarks.distillation.views --data folder:PATH --teacher local-dir:PATH [--epochs 24] [--seeds 3]
    python -m benchmarks.distillation.views --quick         # digits, and a teacher that is trained first
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.common.materials import HINTON, Material
from benchmarks.common.program import (
    Column,
    Report,
    Table,
    Verdict,
    benchmark_parser,
    conditions,
    mean_interval,
    publish,
)
from nas_distill.callbacks import NullProgress
from nas_distill.config import LOCAL_DIR, DataConfig, ViewsConfig
from nas_distill.data.manifest import DataManifest
from nas_distill.data.views.plan import ViewPlan, plan_views
from nas_distill.knowledge.store import Knowledge
from nas_distill.knowledge.targets import StoredTargets
from nas_distill.models.teacher import Teacher, load_teacher
from nas_distill.records import EpochMetrics, Recipe, StudentSpec
from nas_distill.train.evaluation import Reference
from nas_distill.train.loop import Trainer
from nas_distill.train.teacher import fit_teacher

WIDTHS = (8, 16, 32)
STUDENT = StudentSpec(architecture="small_resnet", arguments={"widths": WIDTHS, "depths": (1, 1, 1)})
COLUMNS = (
    Column("views", "K"),
    Column("top1_percent", "top-1, %", "{:.2f}"),
    Column("interval_points", "95 %, +-", "{:.2f}"),
    Column("gap_points", "gap, points", "{:.2f}"),
    Column("divergence_nats", "divergence, nats", "{:.3f}"),
    Column("agreement_percent", "agreement, %", "{:.2f}"),
    Column("less_than_online_points", "difference from K = epochs, paired", "{:+.2f}"),
    Column("less_than_online_interval", "95 %, +-", "{:.2f}"),
    Column("bytes_stored", "bytes stored", "{:,}"),
    Column("build_s", "seconds to build", "{:.1f}"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Inputs that all trainings share.

    Attributes:
        material: Prepared images.
        plan: Views of the largest K.
        knowledge: Stored teacher outputs for these views.
        build_s: Seconds to store these outputs.
        reference: Teacher outputs for images without augmentation.
        epochs: Epochs per training.
    """

    material: Material
    plan: ViewPlan
    knowledge: Knowledge
    build_s: float
    reference: Reference
    epochs: int


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as scratch:
        report = measure(arguments, Path(scratch))
    publish(report, arguments)


def parse() -> argparse.Namespace:
    parser = benchmark_parser("distillation.views", __doc__)
    parser.add_argument("--data", default="digits", help="digits, or folder:PATH of an image folder  [default: digits]")
    parser.add_argument("--teacher", help="local-dir:PATH  [default for digits: train one first]")
    parser.add_argument("--train-images", type=int, default=6400, help="training images  [default: 6400]")
    parser.add_argument("--validation-images", type=int, default=2000, help="validation images  [default: 2000]")
    parser.add_argument("--epochs", type=int, default=24, help="epochs per training  [default: 24]")
    parser.add_argument(
        "--views", type=int, nargs="+", help="values of K  [default: 1 2 4 8 16, that of a search, epochs]"
    )
    parser.add_argument("--seeds", type=int, default=3, help="trainings per K  [default: 3]")
    parser.add_argument("--threads", type=int, default=1, help="torch threads  [default: 1]")
    parser.add_argument("--device", default="cpu", help="device  [default: cpu]")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.data, arguments.teacher = "digits", None
        arguments.train_images, arguments.epochs, arguments.seeds = 320, 6, 2
    if arguments.data != "digits" and arguments.teacher is None:
        parser.error("--teacher local-dir:PATH is needed for data other than digits")
    return arguments


def measure(arguments: argparse.Namespace, folder: Path) -> Report:
    device = torch.device(arguments.device)
    bench = set_up(arguments, folder, device)
    manifest = bench.material.manifest
    counts = views_to_compare(arguments, manifest)
    points = {count: [train(bench, count, seed, device) for seed in range(arguments.seeds)] for count in counts}
    rows = [row(bench, count, points) for count in counts]
    title = (
        f"Accuracy by number of views: {manifest.num_train:,} training and {manifest.num_validation:,} validation "
        f"images, {arguments.epochs} epochs, student small_resnet {WIDTHS} ({bench.material.parameters(STUDENT):,} "
        f"parameters), teacher {100 * bench.reference.teacher.top1:.2f} %"
    )
    return Report(
        name="distillation/views",
        tables=(Table(title=title, columns=COLUMNS, rows=tuple(rows)),),
        verdicts=verdicts(rows, points, default_views(manifest, arguments.epochs)),
        conditions=conditions(
            seed=list(range(arguments.seeds)),
            threads=arguments.threads,
            device=arguments.device,
            data=Path(arguments.data.partition(":")[2]).name or arguments.data,
        ),
    )


def set_up(arguments: argparse.Namespace, folder: Path, device: torch.device) -> Bench:
    """Prepare everything that the trainings share, with stored outputs for the largest K."""
    config = DataConfig(
        source=arguments.data,
        max_train_images=arguments.train_images,
        max_validation_images=arguments.validation_images,
        image_size=16 if arguments.data == "digits" else None,
    )
    material = Material.prepare(config, folder)
    teacher = open_teacher(arguments, material, device).to(device)
    started = time.perf_counter()
    most = max(views_to_compare(arguments, material.manifest))
    knowledge, plan = material.knowledge(teacher, views=most, device=device)
    return Bench(
        material=material,
        plan=plan,
        knowledge=knowledge,
        build_s=time.perf_counter() - started,
        reference=Reference.from_store(knowledge.reference(), material.validation.labels, device),
        epochs=arguments.epochs,
    )


def open_teacher(arguments: argparse.Namespace, material: Material, device: torch.device) -> Teacher:
    where = arguments.teacher
    if where is None:
        out = material.folder / "teacher"
        where = f"{LOCAL_DIR}{out}"
        fit_teacher(
            "small_resnet",
            out,
            arguments={"widths": (16, 32), "depths": (1, 1)},
            recipe=Recipe(losses={}, label_weight=1.0, epochs=arguments.epochs),
            splits=(material.train, material.validation),
            views=ViewsConfig(),
            seed=0,
            device=device,
            progress=NullProgress(),
        )
    return load_teacher(where, class_names=material.manifest.class_names, channels=material.manifest.channels)


def views_to_compare(arguments: argparse.Namespace, manifest: DataManifest) -> list[int]:
    wanted = arguments.views or [1, 2, 4, 8, 16, default_views(manifest, arguments.epochs), arguments.epochs]
    return sorted({min(count, arguments.epochs) for count in wanted})


def default_views(manifest: DataManifest, epochs: int) -> int:
    """Return the K that a search uses by default."""
    return plan_views(ViewsConfig(), manifest, epochs=epochs, online=False).count


def train(bench: Bench, count: int, seed: int, device: torch.device) -> EpochMetrics:
    """Train one student on `count` views and return the metrics of its last epoch."""
    trainer = Trainer(
        bench.material.network(STUDENT, seed),
        recipe=Recipe(**HINTON, epochs=bench.epochs),
        data=bench.material.training_data(bench.plan.model_copy(update={"count": count})),
        targets=StoredTargets(bench.knowledge, device),
        reference=bench.reference,
        seed=seed,
        device=device,
    )
    while not trainer.is_finished():
        point = trainer.run_epoch()
    print(f"K {count}, seed {seed}: {100 * point.top1:.2f} % in {point.epoch} epochs", flush=True)
    return point


def row(bench: Bench, count: int, points: dict[int, list[EpochMetrics]]) -> dict[str, Any]:
    mine = points[count]
    top1, interval = mean_interval([100 * point.top1 for point in mine])
    online = points.get(bench.epochs)
    paired: tuple[float | None, float | None] = (None, None)
    if online is not None and count != bench.epochs:
        paired = mean_interval([100 * (a.top1 - b.top1) for a, b in zip(mine, online, strict=True)])
    manifest = bench.material.manifest
    return {
        "views": count,
        "top1_percent": top1,
        "interval_points": interval,
        "gap_points": average([point.gap_points for point in mine]),
        "divergence_nats": average([point.divergence_nats for point in mine]),
        "agreement_percent": 100 * average([point.agreement for point in mine]),
        "less_than_online_points": paired[0],
        "less_than_online_interval": paired[1],
        "bytes_stored": 2 * count * manifest.num_train * manifest.num_classes,
        "build_s": bench.build_s * count / bench.plan.count,
        "top1_percent_by_seed": [100 * point.top1 for point in mine],
    }


def average(values: Sequence[float | None]) -> float:
    return sum(value for value in values if value is not None) / len(values)


def verdicts(
    rows: Sequence[dict[str, Any]], points: dict[int, list[EpochMetrics]], default: int
) -> tuple[Verdict, ...]:
    best = max(rows, key=lambda entry: entry["top1_percent"])
    chosen = next((entry for entry in rows if entry["views"] == default), None)
    if chosen is None:
        return (Verdict(text=f"the default K = {default} was not compared"),)
    differences = [
        100 * (a.top1 - b.top1) for a, b in zip(points[default], points[best["views"]], strict=True)
    ]  # fmt: skip
    mean, half = mean_interval(differences) if default != best["views"] else (0.0, 0.0)
    within = chosen["top1_percent"] >= best["top1_percent"] - best["interval_points"]
    text = (
        f"the default K = {default} reaches {chosen['top1_percent']:.2f} %, the best K = {best['views']} "
        f"{best['top1_percent']:.2f} +- {best['interval_points']:.2f} %; paired by seed, the default differs by "
        f"{mean:+.2f} +- {half:.2f} points"
    )
    return (Verdict(text=text, met=within),)


if __name__ == "__main__":
    main()
