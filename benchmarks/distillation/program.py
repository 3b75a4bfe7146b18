"""Measure the gain of distillation: every loss against `none`, with one teacher, one budget and the same students.

- Each seed has the same initial weights, image order and views for all losses, so gains over `none` are paired by seed.
- Precision and memory format are fixed and never probed. Losses use the registry's default weights and parameters;
  `--set` overrides them.
- Losses of logits and embeddings read stored teacher outputs. Losses of feature maps run the teacher at every step, on
  the same views.
- Accuracy, gap, agreement, NLL, ECE and divergence are those of the last epoch on validation, calibrated and
  cross-fitted as in a search. Seconds are those of the training, without the stored outputs.
- `+-` is the half-width of a 95 % interval (Student's t) over the seeds, without a correction for multiple comparisons:
  about one of twenty losses without effect will seem to gain or lose.

    python -m benchmarks.distillation --data folder:PATH --teacher local-dir:PATH [--keep FILE] [--processes 2]
    python -m benchmarks.distillation ... --sweep dist:weight=0.3,1,3:label_weight=0.1,1 --first-seed 100
    python -m benchmarks.distillation --quick      # digits, and a teacher that is trained first

The exit status is 1 if a training failed.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.common.materials import Material
from benchmarks.common.pool import run_all
from benchmarks.common.program import EXIT_MISSED, EXIT_NO_CUDA, Report, benchmark_parser, conditions, publish
from benchmarks.common.tasks import Outcome, Result, Task, TaskLog
from benchmarks.common.trainings import EXECUTIONS, SharedInputs, add_execution_argument, train
from benchmarks.distillation.contenders import Contender, default_names, gather, parse_given
from benchmarks.distillation.gains import Gain, failure_table, gain_table, recipe_table, verdicts
from nas_distill.callbacks import NullProgress
from nas_distill.config import LOCAL_DIR, DataConfig, ViewsConfig
from nas_distill.data.views.plan import plan_views
from nas_distill.errors import ConfigError
from nas_distill.knowledge.layout import OutputStorage
from nas_distill.knowledge.store import Knowledge
from nas_distill.models.teacher import load_teacher
from nas_distill.records import Recipe, StudentSpec
from nas_distill.train.evaluation import Reference
from nas_distill.train.teacher import METRICS, fit_teacher

STUDENTS = {
    "20k": StudentSpec(architecture="small_resnet", arguments={"widths": (8, 16, 32), "depths": (1, 1, 1)}),
    "80k": StudentSpec(architecture="small_resnet", arguments={"widths": (16, 32, 64), "depths": (1, 1, 1)}),
    "300k": StudentSpec(architecture="small_resnet", arguments={"widths": (32, 64, 128), "depths": (1, 1, 1)}),
}
QUICK_LOSSES = ["kd", "dkd+standardise", "sp", "hint", "kd+release"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Inputs of the comparison.

    Attributes:
        material: Prepared images.
        knowledge: Stored teacher outputs.
        teacher_top1: Accuracy of the teacher on validation, 0 to 1.
        contenders: Contenders, `none` first.
        inputs: The same inputs in a form for other processes.
    """

    material: Material
    knowledge: Knowledge
    teacher_top1: float
    contenders: Sequence[Contender]
    inputs: SharedInputs

    def task(self, student: str, contender: Contender, seed: int, arguments: argparse.Namespace) -> Task:
        """Return the task of one training."""
        key = self.knowledge.manifest.key
        return Task(
            student=STUDENTS[student],
            recipe=contender.recipe,
            seed=seed,
            data_id=key.data_id,
            teacher_sha256=key.teacher_sha256,
            plan=key.plan,
            execution=EXECUTIONS[arguments.execution],
            device=torch.device(arguments.device).type,
            online=contender.online,
        )


def main() -> None:
    arguments = parse()
    if arguments.device != "cpu" and not torch.cuda.is_available():
        print("distillation: there is no CUDA GPU; nothing was measured", file=sys.stderr)
        raise SystemExit(EXIT_NO_CUDA)
    torch.set_num_threads(arguments.processes * arguments.threads)
    with tempfile.TemporaryDirectory() as scratch:
        bench = set_up(arguments, arguments.work or Path(scratch))
        gains = measure(bench, arguments)
        report = describe(bench, gains, arguments)
    publish(report, arguments)
    if any(gain.failed for gain in gains):
        raise SystemExit(EXIT_MISSED)


def parse() -> argparse.Namespace:
    parser = benchmark_parser("distillation", __doc__)
    parser.add_argument("--data", default="digits", help="digits, or folder:PATH of an image folder  [default: digits]")
    parser.add_argument("--teacher", help="local-dir:PATH  [default for digits: train one first]")
    parser.add_argument("--losses", nargs="*", metavar="NAME", help="LOSS or LOSS+CHANGE  [default: all]")
    parser.add_argument(
        "--set", action="append", default=[], metavar="LOSS.PARAMETER=VALUE", dest="given",
        help="setting of a loss; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="LOSS:PARAMETER=V1,V2:...",
        help="compare settings of one loss; may be repeated; without --losses, only these are compared",
    )
    parser.add_argument(
        "--students", nargs="+", choices=tuple(STUDENTS), default=["80k"], help="students  [default: 80k]"
    )
    parser.add_argument("--seeds", type=int, default=3, help="trainings per contender  [default: 3]")
    parser.add_argument(
        "--first-seed", type=int, default=0, help="first seed; use other seeds to tune than to report  [default: 0]"
    )
    parser.add_argument("--epochs", type=int, default=15, help="epochs per training  [default: 15]")
    parser.add_argument("--train-images", type=int, default=10_000, help="training images, 0 for all  [default: 10000]")
    parser.add_argument("--validation-images", type=int, default=0, help="validation images, 0 for all  [default: 0]")
    parser.add_argument("--views", type=int, help="number of views  [default: as in a search]")
    add_execution_argument(parser)
    parser.add_argument("--device", default="cpu", help="device  [default: cpu]")
    parser.add_argument("--processes", type=int, default=2, help="trainings in parallel  [default: 2]")
    parser.add_argument("--threads", type=int, default=1, help="torch threads per process  [default: 1]")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="log of finished trainings, which are not repeated")
    parser.add_argument("--work", type=Path, metavar="DIR", help="folder in which to keep data and teacher outputs")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.data, arguments.teacher, arguments.students = "digits", None, ["20k"]
        arguments.train_images, arguments.epochs, arguments.seeds = 256, 2, 1
        arguments.losses = QUICK_LOSSES if arguments.losses is None else arguments.losses
    if arguments.data != "digits" and arguments.teacher is None:
        parser.error("--teacher local-dir:PATH is needed for data other than digits")
    if arguments.losses is None:
        arguments.losses = [] if arguments.sweep else default_names()
    try:
        arguments.contenders = gather(
            arguments.losses, arguments.sweep, epochs=arguments.epochs, given=parse_given(arguments.given)
        )
    except ConfigError as error:
        parser.error(str(error))
    return arguments


def set_up(arguments: argparse.Namespace, folder: Path) -> Bench:
    """Prepare everything that the trainings share, including the stored teacher outputs."""
    config = DataConfig(
        source=arguments.data,
        max_train_images=arguments.train_images or None,
        max_validation_images=arguments.validation_images or None,
        image_size=16 if arguments.data == "digits" else None,
    )
    material = Material.prepare(config, folder / "data")
    manifest, device = material.manifest, torch.device(arguments.device)
    where = arguments.teacher or teacher_of_digits(material, folder / "teacher", device, 2 if arguments.quick else 24)
    teacher = load_teacher(where, class_names=manifest.class_names, channels=manifest.channels).to(device)
    views = plan_views(ViewsConfig(count=arguments.views), manifest, epochs=arguments.epochs, online=False).count
    print(f"storing teacher outputs for {views} views of {manifest.num_train:,} images", flush=True)
    storage = OutputStorage(embeddings=True)
    knowledge, _ = material.knowledge(teacher, views=views, device=device, storage=storage)
    return Bench(
        material=material,
        knowledge=knowledge,
        teacher_top1=Reference.from_store(knowledge.reference(), material.validation.labels, device).teacher.top1,
        contenders=arguments.contenders,
        inputs=SharedInputs(
            folder=material.folder,
            data=config,
            knowledge=knowledge.folder,
            teacher=where,
            device=arguments.device,
            threads=arguments.threads,
        ),
    )


def teacher_of_digits(material: Material, folder: Path, device: torch.device, epochs: int) -> str:
    """Train a teacher of digits, unless `folder` has one from an earlier run, and return its location."""
    if not (folder / METRICS).exists():
        fit_teacher(
            "small_resnet",
            folder,
            arguments={"widths": (16, 32), "depths": (1, 1)},
            recipe=Recipe(losses={}, label_weight=1.0, epochs=epochs),
            splits=(material.train, material.validation),
            views=ViewsConfig(),
            seed=0,
            device=device,
            progress=NullProgress(),
        )
    return f"{LOCAL_DIR}{folder}"


def measure(bench: Bench, arguments: argparse.Namespace) -> list[Gain]:
    """Run the trainings that are not logged yet, and return the gain of each contender with each student."""
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    # Seed by seed, so that an interrupted run has compared all losses. Slow trainings first, so that no process is idle
    # at the end.
    order = sorted(bench.contenders, key=lambda contender: not contender.online)
    keys = {
        bench.task(student, contender, seed, arguments).digest(): (student, contender, seed)
        for seed in seeds
        for student in arguments.students
        for contender in order
    }
    tasks = [bench.task(*key, arguments) for key in keys.values()]
    outcomes: dict[tuple[str, str], dict[int, Outcome[Result]]] = {}
    task_log = TaskLog(arguments.keep, Outcome[Result])
    for task, outcome in run_all(tasks, bench.inputs, processes=arguments.processes, task_log=task_log, work=train):
        student, contender, seed = keys[task.digest()]
        outcomes.setdefault((student, contender.name), {})[seed] = outcome
        done = sum(len(found) for found in outcomes.values())
        print(f"{done}/{len(tasks)} {student}, {contender.name}, seed {seed}: {outcome.summary()}", flush=True)
    return [
        Gain(
            student=student,
            contender=contender,
            outcomes=outcomes[student, contender.name],
            control=outcomes[student, bench.contenders[0].name],
        )
        for student in arguments.students
        for contender in bench.contenders
    ]


def describe(bench: Bench, gains: Sequence[Gain], arguments: argparse.Namespace) -> Report:
    manifest, plan = bench.material.manifest, bench.knowledge.manifest.key.plan
    parameters = {student: bench.material.parameters(STUDENTS[student]) for student in arguments.students}
    tables = []
    for student in arguments.students:
        title = (
            f"Gain of distillation, student small_resnet {student} ({parameters[student]:,} parameters): "
            f"{manifest.num_train:,} training and {manifest.num_validation:,} validation images, {arguments.epochs} "
            f"epochs, {plan.count} views, teacher {100 * bench.teacher_top1:.2f} %"
        )
        tables.append(gain_table(title, [gain for gain in gains if gain.student == student]))
    failures = failure_table(gains)
    smallest = min(parameters, key=lambda student: parameters[student])
    return Report(
        name="distillation/gain" + ("-sweep" if arguments.sweep else "") + f"-{torch.device(arguments.device).type}",
        tables=(*tables, recipe_table(bench.contenders), *([failures] if failures else [])),
        verdicts=verdicts(gains, smallest=smallest),
        conditions=conditions(
            seed=list(range(arguments.first_seed, arguments.first_seed + arguments.seeds)),
            threads=arguments.threads,
            device=arguments.device,
            processes=arguments.processes,
            execution=", ".join(EXECUTIONS[arguments.execution].model_dump().values()),
            data=Path(arguments.data.partition(":")[2]).name or arguments.data,
            seconds_to_store_outputs=math.ceil(bench.knowledge.manifest.build_time_s),
        ),
    )
