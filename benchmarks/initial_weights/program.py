"""Measure what a student's initial weights are worth: random, cut from the teacher in several ways, or a stand-in.

- Students are drawn at random from the dimensions of the teacher of their family. Each start trains the same students
  with the same seeds, image order, views and recipe, so that gains over random weights are paired.
- Each number of epochs is a training of its own, whose learning rate falls to its end.
- The stand-in for pretrained weights is the same network, trained on other images first; its classifier is random.
- Gains are points of accuracy on validation after the last epoch. `+-` is the half-width of a 95 % interval (Student's
  t) over students, whose gains are averaged over seeds first.

    python -m benchmarks.initial_weights [--families basic vit] [--students 8] [--seeds 3] [--epochs 20]
    python -m benchmarks.initial_weights --data folder:PATH --other folder:PATH --train-images 4000
    python -m benchmarks.initial_weights --quick

Finished trainings are logged in `--work`; the same command resumes an interrupted run. The exit status is 1 if a
training failed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.common.materials import Material, make_image_folder, prepare_teacher
from benchmarks.common.pool import run_all
from benchmarks.common.program import EXIT_MISSED, Report, benchmark_parser, conditions, publish
from benchmarks.common.tasks import Outcome, TaskLog
from benchmarks.common.trainings import EXECUTIONS, SharedInputs, add_execution_argument
from benchmarks.initial_weights.comparison import Training, comparison_table, verdicts
from benchmarks.initial_weights.families import BASIC, BOTTLENECK, VIT, Family, families
from benchmarks.initial_weights.starts import (
    CUTS,
    RANDOM,
    STAND_IN,
    StartInputs,
    StartResult,
    StartTask,
    effective,
    train_start,
)
from nas_distill.config import DataConfig
from nas_distill.knowledge.store import Knowledge
from nas_distill.records import Recipe, StudentSpec

RUNS = Path(__file__).parents[2] / "runs" / "initial_weights"
_OTHER_IMAGES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Inputs of the trainings of one family.

    Attributes:
        name: Name of the family.
        family: The family.
        knowledge: Stored outputs of its teacher.
        teacher_parameters: Number of parameters of its teacher.
        students: Students with their parameters.
        inputs: Inputs of the worker processes.
    """

    name: str
    family: Family
    knowledge: Knowledge
    teacher_parameters: int
    students: Sequence[tuple[StudentSpec, int]]
    inputs: StartInputs


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch) if arguments.quick else arguments.work
        trainings: list[Training] = []
        failed = 0
        for name in arguments.families:
            found, lost = measure(set_up(name, work, arguments), work, arguments)
            trainings += found
            failed += lost
        publish(describe(trainings, arguments), arguments)
    if failed:
        raise SystemExit(EXIT_MISSED)


def parse() -> argparse.Namespace:
    starts = (RANDOM, *CUTS, STAND_IN)
    parser = benchmark_parser("initial_weights", __doc__)
    parser.add_argument("--data", default="digits", help="digits, or folder:PATH of an image folder  [default: digits]")
    parser.add_argument("--other", help="other images, for the stand-in: folder:PATH  [default: stripes]")
    parser.add_argument("--families", nargs="+", choices=(BASIC, BOTTLENECK, VIT), default=[BASIC, BOTTLENECK, VIT])
    parser.add_argument("--students", type=int, default=8, help="students of each family  [default: 8]")
    parser.add_argument("--student-seed", type=int, default=0, help="seed that draws the students  [default: 0]")
    parser.add_argument("--starts", nargs="+", choices=starts, default=list(starts), metavar="NAME",
                        help=f"starts, random always included, of: {', '.join(starts)}  [default: all]")  # fmt: skip
    parser.add_argument("--judged", choices=starts, default="reconstruct", help="start that the targets are for")
    parser.add_argument("--rate-share", type=float, default=1.0, help="factor on the learning rate of other starts")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.25, 0.5, 1.0], help="shares of the epochs")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each student and start  [default: 3]")
    parser.add_argument("--epochs", type=int, default=20, help="all epochs  [default: 20]")
    parser.add_argument("--teacher-epochs", type=int, default=40, help="epochs of the teachers  [default: 40]")
    parser.add_argument("--batch-size", type=int, help="batch size  [default: 32 for digits, otherwise 64]")
    parser.add_argument("--image-size", type=int, help="image size, pixels  [default: that of the images]")
    parser.add_argument("--train-images", type=int, default=0, help="training images, 0 for all  [default: 0]")
    parser.add_argument("--validation-images", type=int, default=0, help="validation images, 0 for all  [default: 0]")
    add_execution_argument(parser)
    parser.add_argument("--processes", type=int, default=2, help="trainings in parallel  [default: 2]")
    parser.add_argument("--threads", type=int, default=1, help="torch threads per process  [default: 1]")
    parser.add_argument("--work", type=Path, metavar="DIR", help="folder of logs and teachers  [default: runs/...]")
    parser.add_argument("--logged", action="store_true", help="report the logged trainings and start no others")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.students, arguments.seeds, arguments.epochs, arguments.teacher_epochs = 2, 1, 4, 2
        arguments.train_images, arguments.families = 256, arguments.families[:1]
    arguments.name = Path(arguments.data.partition(":")[2]).name or arguments.data
    arguments.work = arguments.work or RUNS / arguments.name
    arguments.batch_size = arguments.batch_size or (32 if arguments.data == "digits" else 64)
    arguments.starts = [name for name in starts if name == RANDOM or name in arguments.starts]
    return arguments


def set_up(name: str, work: Path, arguments: argparse.Namespace) -> Setup:
    """Prepare images and other images, train the family's teacher, and store its outputs."""
    data = DataConfig(
        source=arguments.data,
        image_size=arguments.image_size,
        max_train_images=arguments.train_images or None,
        max_validation_images=arguments.validation_images or None,
    )
    material = Material.prepare(data, work / "data")
    size, channels = material.manifest.image_size, material.manifest.channels
    family = families(size)[name]
    where, knowledge = prepare_teacher(
        material,
        family.teacher,
        work / f"teacher-{name}",
        recipe=recipe_of(family, arguments).model_copy(update={"epochs": arguments.teacher_epochs}),
        execution=EXECUTIONS[arguments.execution],
        views=min(arguments.epochs, 8),
    )
    other = DataConfig(source=arguments.other or f"folder:{other_images(work, size)}", image_size=size,
                       channels=channels, max_train_images=arguments.train_images or None)  # fmt: skip
    Material.prepare(other, work / "other")
    students = [
        (spec, material.parameters(spec)) for spec in family.students(arguments.students, arguments.student_seed)
    ]
    return Setup(
        name=name,
        family=family,
        knowledge=knowledge,
        teacher_parameters=material.parameters(family.teacher),
        students=students,
        inputs=StartInputs(
            shared=SharedInputs(folder=material.folder, data=data, knowledge=knowledge.folder, teacher=where,
                                device="cpu", threads=arguments.threads),
            other=other,
            other_folder=work / "other",
            other_recipe=recipe_of(family, arguments).model_copy(update={"losses": {}}),
        ),
    )  # fmt: skip


def other_images(work: Path, size: int) -> Path:
    """Write noisy stripes, unless they exist, and return their folder."""
    folder = work / "stripes"
    return folder if folder.exists() else make_image_folder(folder, images=_OTHER_IMAGES, image_size=size)


def recipe_of(family: Family, arguments: argparse.Namespace) -> Recipe:
    return Recipe(
        epochs=arguments.epochs, batch_size=arguments.batch_size, learning_rate=family.learning_rate,
        fine_tuning_rate_share=arguments.rate_share,
    )  # fmt: skip


def tasks_of(setup: Setup, arguments: argparse.Namespace) -> dict[str, tuple[StartTask, list[tuple[int, str]]]]:
    """Return all trainings of a family by digest, seed by seed, each with the students and starts that it is of."""
    tasks: dict[str, tuple[StartTask, list[tuple[int, str]]]] = {}
    for seed in range(arguments.seeds):
        for number, (spec, _) in enumerate(setup.students):
            for start in arguments.starts:
                for share in sorted({*arguments.shares, 1.0} if start == RANDOM else arguments.shares):
                    epochs = max(1, round(share * arguments.epochs))
                    task = task_of(setup, spec, start, seed=seed, epochs=epochs, arguments=arguments)
                    tasks.setdefault(task.digest(), (task, []))[1].append((number, start))
    return tasks


def task_of(
    setup: Setup, spec: StudentSpec, start: str, *, seed: int, epochs: int, arguments: argparse.Namespace
) -> StartTask:
    key = setup.knowledge.manifest.key
    recipe = recipe_of(setup.family, arguments).model_copy(update={"epochs": epochs})
    return StartTask(
        student=spec,
        recipe=recipe.model_copy(update={"fine_tuning_rate_share": 1.0})
        if start == RANDOM
        else recipe.for_fine_tuning(),
        seed=seed,
        data_id=key.data_id,
        teacher_sha256=key.teacher_sha256,
        plan=key.plan,
        execution=EXECUTIONS[arguments.execution],
        device="cpu",
        online=False,
        cut=effective(CUTS[start], spec, setup.family.teacher) if start in CUTS else None,
        stand_in=setup.inputs.other_recipe.digest() if start == STAND_IN else "",
    )


def measure(setup: Setup, work: Path, arguments: argparse.Namespace) -> tuple[list[Training], int]:
    """Run the trainings of a family that are not logged yet, and return all, and the number of failed ones."""
    tasks = tasks_of(setup, arguments)
    log = TaskLog(None if arguments.quick else work / f"{setup.name}.jsonl", Outcome[StartResult])
    if arguments.logged:
        tasks = {digest: found for digest, found in tasks.items() if log.get(found[0]) is not None}
    found: list[Training] = []
    failed, started = 0, time.monotonic()
    outcomes = run_all(
        [task for task, _ in tasks.values()],
        setup.inputs,
        processes=arguments.processes,
        task_log=log,
        work=train_start,
    )
    for done, (task, outcome) in enumerate(outcomes, start=1):
        if outcome.result is None:
            failed += 1
        else:
            found += trainings_of(setup, task, outcome.result, tasks[task.digest()][1])
        number, start = tasks[task.digest()][1][0]
        print(
            f"{done}/{len(tasks)} after {time.monotonic() - started:.0f} s: {setup.name} {number}, seed {task.seed}, "
            f"{start}, {task.recipe.epochs} epochs: {outcome.summary()}",
            flush=True,
        )
    return found, failed


def trainings_of(setup: Setup, task: StartTask, result: StartResult, of: Sequence[tuple[int, str]]) -> list[Training]:
    """Return the trainings that one task stands for, given their students and starts."""
    return [
        Training(
            family=setup.name,
            student=number,
            share=setup.students[number][1] / setup.teacher_parameters,
            seed=task.seed,
            start=start,
            epochs=task.recipe.epochs,
            result=result,
        )
        for number, start in of
    ]


def describe(trainings: Sequence[Training], arguments: argparse.Namespace) -> Report:
    tables = []
    groups = {name: [training for training in trainings if training.family == name] for name in arguments.families}
    if len(groups) > 1:
        groups = {"all families": list(trainings), **groups}
    for name, group in groups.items():
        students = len({(training.family, training.student) for training in group})
        shares = [training.share for training in group]
        title = (
            f"Initial weights, {arguments.name}, {name}: {students} students with {100 * min(shares):.1f} to "
            f"{100 * max(shares):.0f} % of the teacher's parameters"
        )
        tables.append(comparison_table(title, group, arguments.starts, arguments.epochs))
    return Report(
        name=f"initial_weights/{arguments.name}",
        tables=tuple(tables),
        verdicts=verdicts(trainings, arguments.judged, arguments.epochs),
        conditions=conditions(
            seed=list(range(arguments.seeds)),
            threads=arguments.threads,
            processes=arguments.processes,
            execution=", ".join(EXECUTIONS[arguments.execution].model_dump().values()),
            rate_share=arguments.rate_share,
        ),
    )
