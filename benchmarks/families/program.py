"""Compare families of students at an equal number of epochs: the front of each, within the teacher's cost.

Each seed draws students at random from the space of each family and trains them from random weights with one recipe.
The students of the teacher's own architecture are also trained from weights that are cut from the teacher. No student
costs more than the teacher. Accuracies are those on validation after the last epoch. `+-` is the half-width of a 95 %
interval (Student's t) over seeds, which draw other students.

    python -m benchmarks.families [--students 6] [--seeds 3] [--epochs 15]
    python -m benchmarks.families --data folder:PATH --image-size 32 --train-images 1000
    python -m benchmarks.families --quick

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

from benchmarks.common.materials import SMALL_TEACHER, Material, prepare_teacher
from benchmarks.common.pool import run_all
from benchmarks.common.program import EXIT_MISSED, Report, benchmark_parser, conditions, publish
from benchmarks.common.tasks import Outcome, Result, Task, TaskLog
from benchmarks.common.trainings import EXECUTIONS, SharedInputs, add_execution_argument, load_inputs, train_network
from benchmarks.families.quality import Trained, family_table
from benchmarks.initial_weights.starts import RECONSTRUCT, cut_from_teacher
from benchmarks.search_quality.candidates import CandidateSource, draw
from nas_distill.config import DataConfig, SearchConfig, SpaceConfig, TeacherConfig
from nas_distill.knowledge.store import Knowledge
from nas_distill.models.costs.cost import measure_cost
from nas_distill.models.weight_selection import CutOptions
from nas_distill.records import FROM_TEACHER, RANDOM, Cost, Recipe, SpaceContext, StudentSpec, TeacherShape
from nas_distill.search.proposal.limits import make_limits
from search_spaces.choices import families_for

RUNS = Path(__file__).parents[2] / "runs" / "families"
TEACHER = "teacher"
CUT = f"{TEACHER}, its weights"
"""Name of the students of the teacher's architecture that start from its weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What all families share.

    Attributes:
        inputs: Data, teacher and its stored outputs.
        knowledge: The stored outputs.
        context: Data, teacher and limits, for spaces.
        teacher: Cost of the teacher.
        top1: Accuracy of the teacher on validation, 0 to 1.
    """

    inputs: SharedInputs
    knowledge: Knowledge
    context: SpaceContext
    teacher: Cost
    top1: float


class FamilyTask(Task):
    """One training of a student from random weights, or from weights that are cut from the teacher.

    Attributes:
        cut: Options of the cut; None for random weights.
    """

    cut: CutOptions | None = None


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch) if arguments.quick else arguments.work
        setup = set_up(work, arguments)
        trained, failed = measure(setup, work, arguments)
        publish(describe(setup, trained, arguments), arguments)
    if failed:
        raise SystemExit(EXIT_MISSED)


def parse() -> argparse.Namespace:
    parser = benchmark_parser("families", __doc__)
    parser.add_argument("--data", default="digits", help="digits, or folder:PATH of an image folder  [default: digits]")
    parser.add_argument("--image-size", type=int, help="image size, pixels  [default: that of the images]")
    parser.add_argument("--train-images", type=int, default=0, help="training images, 0 for all  [default: 0]")
    parser.add_argument("--validation-images", type=int, default=0, help="validation images, 0 for all  [default: 0]")
    parser.add_argument("--families", nargs="+", help="names of spaces  [default: all families for the image size]")
    parser.add_argument("--students", type=int, default=6, help="students of each family and seed  [default: 6]")
    parser.add_argument("--seeds", type=int, default=3, help="draws of students  [default: 3]")
    parser.add_argument("--epochs", type=int, default=15, help="epochs of a student  [default: 15]")
    parser.add_argument("--teacher-epochs", type=int, default=40, help="epochs of the teacher  [default: 40]")
    parser.add_argument("--batch-size", type=int, help="batch size  [default: 32 for digits, otherwise 64]")
    add_execution_argument(parser)
    parser.add_argument("--processes", type=int, default=2, help="trainings in parallel  [default: 2]")
    parser.add_argument("--threads", type=int, default=1, help="torch threads per process  [default: 1]")
    parser.add_argument("--work", type=Path, metavar="DIR", help="folder of log and teacher  [default: runs/...]")
    parser.add_argument("--logged", action="store_true", help="report the logged trainings and start no others")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.students, arguments.seeds, arguments.epochs, arguments.teacher_epochs = 2, 2, 1, 2
        arguments.train_images, arguments.families = 256, [TEACHER, "resnet"]
    arguments.name = Path(arguments.data.partition(":")[2]).name or arguments.data
    arguments.work = arguments.work or RUNS / arguments.name
    arguments.batch_size = arguments.batch_size or (32 if arguments.data == "digits" else 64)
    return arguments


def set_up(work: Path, arguments: argparse.Namespace) -> Setup:
    """Prepare the images, train the teacher unless `work` has one, and store its outputs."""
    data = DataConfig(
        source=arguments.data,
        image_size=arguments.image_size,
        max_train_images=arguments.train_images or None,
        max_validation_images=arguments.validation_images or None,
    )
    material = Material.prepare(data, work / "data")
    manifest = material.manifest
    where, knowledge = prepare_teacher(
        material,
        SMALL_TEACHER,
        work / "teacher",
        recipe=recipe_of(arguments).model_copy(update={"epochs": arguments.teacher_epochs}),
        execution=EXECUTIONS[arguments.execution],
        views=min(arguments.epochs, 8),
    )
    inputs = SharedInputs(
        folder=material.folder, data=data, knowledge=knowledge.folder, teacher=where, device="cpu",
        threads=arguments.threads,
    )  # fmt: skip
    cost = measure_cost(
        SMALL_TEACHER, num_classes=manifest.num_classes, channels=manifest.channels, image_size=manifest.image_size
    )
    limits = make_limits(SpaceConfig(), cost)
    context = SpaceContext(
        num_classes=manifest.num_classes,
        channels=manifest.channels,
        image_size=manifest.image_size,
        teacher=TeacherShape(
            architecture=SMALL_TEACHER.architecture, arguments=SMALL_TEACHER.keyword_arguments(),
            num_params=cost.num_params, macs=cost.macs, image_size=manifest.image_size,
        ),
        max_params=limits.max_params,
        max_macs=limits.max_macs,
    )  # fmt: skip
    top1 = load_inputs(inputs).reference.teacher.top1
    return Setup(inputs=inputs, knowledge=knowledge, context=context, teacher=cost, top1=top1)


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    return Recipe(epochs=arguments.epochs, batch_size=arguments.batch_size)


def tasks_of(setup: Setup, arguments: argparse.Namespace) -> list[tuple[str, int, Cost, FamilyTask]]:
    """Return name, seed, cost and training of every student, seed by seed."""
    names = arguments.families or (TEACHER, *families_for(setup.context.image_size))
    found = []
    for seed in range(arguments.seeds):
        for name in names:
            for candidate in draw(source_of(name, setup), count=arguments.students, seed=seed):
                found.append((name, seed, candidate.cost, task_of(candidate.spec, None, setup, seed, arguments)))
                if name == TEACHER:
                    task = task_of(candidate.spec, RECONSTRUCT, setup, seed, arguments)
                    found.append((CUT, seed, candidate.cost, task))
    return found


def source_of(name: str, setup: Setup) -> CandidateSource:
    allowed = (FROM_TEACHER,) if name == TEACHER else (RANDOM,)
    config = SearchConfig(
        teacher=TeacherConfig(model=setup.inputs.teacher), space=SpaceConfig(name=name, initial_weights=allowed)
    )
    return CandidateSource.of(config, setup.context, setup.teacher)


def task_of(
    spec: StudentSpec, cut: CutOptions | None, setup: Setup, seed: int, arguments: argparse.Namespace
) -> FamilyTask:
    key = setup.knowledge.manifest.key
    return FamilyTask(
        student=spec.model_copy(update={"initial_weights": None}),
        recipe=recipe_of(arguments) if cut is None else recipe_of(arguments).for_fine_tuning(),
        seed=seed,
        data_id=key.data_id,
        teacher_sha256=key.teacher_sha256,
        plan=key.plan,
        execution=EXECUTIONS[arguments.execution],
        device="cpu",
        online=False,
        cut=cut,
    )


def train(task: FamilyTask, inputs: SharedInputs) -> Result:
    """Train one student in a worker process."""
    network = load_inputs(inputs).material.network(task.student, task.seed)
    if task.cut is not None:
        cut_from_teacher(network, task, task.cut, inputs)
    return train_network(network, task, inputs)


def measure(setup: Setup, work: Path, arguments: argparse.Namespace) -> tuple[list[Trained], int]:
    """Run the trainings that are not logged yet, and return all, and the number of failed ones."""
    log = TaskLog(None if arguments.quick else work / "trained.jsonl", Outcome[Result])
    tasks = tasks_of(setup, arguments)
    if arguments.logged:
        tasks = [one for one in tasks if log.get(one[3]) is not None]
    by_digest = {task.digest(): (name, seed, cost) for name, seed, cost, task in tasks}
    trained, failed, started = [], 0, time.monotonic()
    outcomes = run_all(
        [task for _, _, _, task in tasks], setup.inputs, processes=arguments.processes, task_log=log, work=train
    )
    for done, (task, outcome) in enumerate(outcomes, start=1):
        name, seed, cost = by_digest[task.digest()]
        if outcome.result is None:
            failed += 1
        else:
            trained.append(Trained(family=name, seed=seed, cost=cost, top1=outcome.result.top1))
        print(
            f"{done}/{len(tasks)} after {time.monotonic() - started:.0f} s: {name}, seed {seed}, "
            f"{cost.num_params:,} parameters: {outcome.summary()}",
            flush=True,
        )
    return trained, failed


def describe(setup: Setup, trained: Sequence[Trained], arguments: argparse.Namespace) -> Report:
    teacher = setup.teacher
    title = (
        f"{arguments.name}, {setup.context.image_size} pixels: students within the teacher's {teacher.num_params:,} "
        f"parameters and {teacher.macs:,} MACs; {arguments.epochs} epochs each; teacher {100 * setup.top1:.2f} %"
    )
    return Report(
        name=f"families/{arguments.name}",
        tables=(family_table(title, trained, teacher, setup.top1),),
        conditions=conditions(
            seed=list(range(arguments.seeds)),
            threads=arguments.threads,
            students=arguments.students,
            epochs=arguments.epochs,
            train_images=arguments.train_images or "all",
            execution=arguments.execution,
        ),
    )
