"""Measure what calibration repairs, which images to fit it on, and which losses need less of it.

Random students of a shipped space are distilled with each loss, with the same initial weights, image order and views
per student, and their logits are kept. Then temperatures are fitted in several ways and compared on the test images,
which neither train, choose nor calibrate a student.

    python -m benchmarks.distillation.calibration [--students 16] [--epochs 20] [--processes 1]
    python -m benchmarks.distillation.calibration --quick

Finished trainings are logged in `--work`; the same command resumes an interrupted run, and compares other ways to fit
without another training. The exit status is 1 if a training failed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.common.materials import Material
from benchmarks.common.pool import run_all
from benchmarks.common.program import EXIT_MISSED, Report, benchmark_parser, conditions, publish
from benchmarks.common.tasks import Outcome, TaskLog
from benchmarks.common.trainings import EXECUTIONS, SharedInputs, add_execution_argument
from benchmarks.distillation.calibration_tables import (
    DEFAULT,
    Labels,
    Training,
    few_table,
    loss_table,
    verdicts,
    way_table,
)
from benchmarks.distillation.contenders import Contender, gather
from benchmarks.distillation.logit_trainings import (
    LogitResult,
    LogitTask,
    held_out_positions,
    test_split,
    train_logits,
)
from benchmarks.search_quality.candidates import Candidate, CandidateSource, draw
from benchmarks.search_quality.make_tables import open_teacher, teacher_of_digits
from nas_distill.config import DataConfig, SearchConfig, SpaceConfig, TeacherConfig
from nas_distill.data.views.plan import plan_views
from nas_distill.knowledge.store import Knowledge
from nas_distill.records import RANDOM, Recipe, TeacherRecord
from nas_distill.search.setup.space_context import plan_space
from nas_distill.train.teacher import measure_teacher

RUNS = Path(__file__).parents[2] / "runs" / "calibration"
HELD_OUT = 0.1
LOSSES = ("kd", "dist", "dist+anneal-cosine")
SWEEPS = ("dist:weight=0.05,0.25", "dist:temperature=1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Inputs that all trainings share."""

    material: Material
    knowledge: Knowledge
    teacher: TeacherRecord
    students: Sequence[Candidate]
    inputs: SharedInputs


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch) if arguments.quick else arguments.work
        bench = set_up(arguments, work)
        trainings, failed = measure(bench, arguments, work)
        publish(describe(bench, trainings, arguments), arguments)
    if failed:
        raise SystemExit(EXIT_MISSED)


def parse() -> argparse.Namespace:
    parser = benchmark_parser("distillation.calibration", __doc__)
    parser.add_argument("--space", default="tiny", help="shipped space of the students  [default: tiny]")
    parser.add_argument("--students", type=int, default=16, help="students  [default: 16]")
    parser.add_argument("--losses", nargs="*", metavar="NAME", default=list(LOSSES), help="LOSS or LOSS+CHANGE")
    parser.add_argument("--sweep", nargs="*", metavar="LOSS:PARAMETER=V1,V2", default=list(SWEEPS))
    parser.add_argument(
        "--held-out", type=int, default=6, metavar="N",
        help="students that are also trained without a tenth of the training images  [default: 6]",
    )  # fmt: skip
    parser.add_argument("--epochs", type=int, default=20, help="epochs per training  [default: 20]")
    parser.add_argument("--batch-size", type=int, default=32, help="images per step  [default: 32]")
    parser.add_argument("--seed", type=int, default=0, help="seed of students and trainings  [default: 0]")
    add_execution_argument(parser)
    parser.set_defaults(execution="plain")
    parser.add_argument("--processes", type=int, default=1, help="trainings in parallel  [default: 1]")
    parser.add_argument("--threads", type=int, default=1, help="torch threads per process  [default: 1]")
    parser.add_argument("--work", type=Path, metavar="DIR", default=RUNS, help="folder of the log")
    parser.add_argument("--logged", action="store_true", help="report the logged trainings and start no others")
    arguments = parser.parse_args()
    arguments.device = "cpu"
    if arguments.quick:
        arguments.students, arguments.epochs, arguments.losses, arguments.sweep = 3, 2, ["dist"], []
    return arguments


def set_up(arguments: argparse.Namespace, folder: Path) -> Bench:
    """Prepare the digits, train the teacher of a search of digits, store its outputs, and draw the students."""
    data, device = DataConfig(), torch.device(arguments.device)
    material = Material.prepare(data, folder / "data")
    where = teacher_of_digits(material, folder / "teacher", arguments)
    teacher = open_teacher(where, material)
    config = SearchConfig(
        data=data,
        teacher=TeacherConfig(model=where),
        space=SpaceConfig(name=arguments.space, initial_weights=(RANDOM,)),
        recipe=Recipe(epochs=arguments.epochs, batch_size=arguments.batch_size),
    )
    views = plan_views(config.views, material.manifest, epochs=arguments.epochs, online=False).count
    knowledge, _ = material.knowledge(teacher, views=views, device=device)
    record = measure_teacher(teacher, material.validation, trained_on_data_id=None)
    context = plan_space(config.teacher, config.space, material.manifest.network_shape).context
    source = CandidateSource.of(config, context, record.cost)
    return Bench(
        material=material,
        knowledge=knowledge,
        teacher=record,
        students=draw(source, count=arguments.students, seed=arguments.seed),
        inputs=SharedInputs(
            folder=material.folder,
            data=data,
            knowledge=knowledge.folder,
            teacher=where,
            device=arguments.device,
            threads=arguments.threads,
        ),
    )


def measure(bench: Bench, arguments: argparse.Namespace, work: Path) -> tuple[list[Training], int]:
    """Run the trainings that are not logged yet, and return all, and the number of failed ones."""
    contenders = gather(arguments.losses, arguments.sweep, epochs=arguments.epochs, given={})
    keys: dict[str, tuple[LogitTask, Contender, int]] = {}
    for number in range(len(bench.students)):
        for contender in contenders:
            repeated = contender.name == DEFAULT and number < arguments.held_out
            for held_out in (0.0, HELD_OUT) if repeated else (0.0,):
                task = task_of(bench, contender, number, held_out, arguments)
                keys[task.digest()] = (task, contender, number)
    log = TaskLog(None if arguments.quick else work / "logits.jsonl", Outcome[LogitResult])
    if arguments.logged:
        keys = {digest: found for digest, found in keys.items() if log.get(found[0]) is not None}
    tasks = [task for task, _, _ in keys.values()]
    found: list[Training] = []
    failed, started = 0, time.monotonic()
    outcomes = run_all(tasks, bench.inputs, processes=arguments.processes, task_log=log, work=train_logits)
    for done, (task, outcome) in enumerate(outcomes, start=1):
        _, contender, number = keys[task.digest()]
        if outcome.result is None:
            failed += 1
        else:
            found.append(
                Training(contender=contender.name, student=number, held_out=task.held_out, result=outcome.result)
            )
        print(
            f"{done}/{len(tasks)} after {time.monotonic() - started:.0f} s: student {number}, {contender.name}, "
            f"held out {task.held_out:g}: {outcome.summary()}",
            flush=True,
        )
    return found, failed


def describe(bench: Bench, trainings: Sequence[Training], arguments: argparse.Namespace) -> Report:
    train = bench.material.train.labels
    _, held_out = held_out_positions(train, HELD_OUT)
    labels = Labels(
        validation=bench.material.validation.labels,
        test=test_split(bench.inputs).labels,
        held_out=train[held_out],
        train=train[: bench.material.validation.num_images],
        teacher_top1=bench.teacher.top1,
    )
    title = (
        f"Losses before and after calibration, digits, {arguments.epochs} epochs, space {arguments.space}, teacher "
        f"{100 * bench.teacher.top1:.2f} %"
    )
    losses = loss_table(title, trainings, labels)
    return Report(
        name="distillation/calibration",
        tables=(losses, way_table(trainings, labels), few_table(trainings, labels)),
        verdicts=verdicts(losses),
        conditions=conditions(
            seed=arguments.seed,
            threads=arguments.threads,
            processes=arguments.processes,
            execution=", ".join(EXECUTIONS[arguments.execution].model_dump().values()),
            train_images=bench.material.train.num_images,
            validation_images=bench.material.validation.num_images,
        ),
    )


def task_of(
    bench: Bench, contender: Contender, student: int, held_out: float, arguments: argparse.Namespace
) -> LogitTask:
    key = bench.knowledge.manifest.key
    return LogitTask(
        student=bench.students[student].spec,
        recipe=contender.recipe.model_copy(update={"batch_size": arguments.batch_size}),
        seed=1000 * arguments.seed + student,
        data_id=key.data_id,
        teacher_sha256=key.teacher_sha256,
        plan=key.plan,
        execution=EXECUTIONS[arguments.execution],
        device=arguments.device,
        online=False,
        held_out=held_out,
    )


if __name__ == "__main__":
    main()
