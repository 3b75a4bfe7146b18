"""Compare a search with pruning the teacher: ModelOpt FastNAS and torch-pruning, both fine-tuned with the teacher.

- The peers prune the teacher to each budget, a share of its parameters or multiply-accumulates, and fine-tune the
  result with distillation. Their networks are trained by the same loop, recipe, views and stored teacher outputs as our
  students, at the learning rate of students that start from the teacher.
- A search of ours gets as many epochs as all fine-tunings of one peer together. One search serves all budgets.
- Within a budget, a contender is represented by its network that is most accurate on validation. The tables show
  accuracy on the test images. `+-` is the half-width of a 95 % interval (Student's t) over seeds.

    python -m benchmarks.against_pruning [--seeds 3] [--epochs 40] [--search-epochs 20]
    python -m benchmarks.against_pruning --data folder:PATH --image-size 32 --train-images 4000
    python -m benchmarks.against_pruning --quick

Finished trainings and searches are kept in `--work`; the same command resumes an interrupted run. A peer that is not
installed is skipped with a message. The exit status is 1 if a training failed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.against_pruning.contenders import FoundNetwork, PruneTask, SearchPlan, prune_and_train, search
from benchmarks.against_pruning.peers import FASTNAS, TORCH_PRUNING, Metric, available
from benchmarks.against_pruning.quality import NAMES, OURS, Found, comparison_table, verdicts
from benchmarks.common.materials import SMALL_TEACHER, Material, prepare_teacher
from benchmarks.common.pool import run_all
from benchmarks.common.program import EXIT_MISSED, Report, benchmark_parser, conditions, publish
from benchmarks.common.tasks import Outcome, TaskLog
from benchmarks.common.trainings import EXECUTIONS, SharedInputs, add_execution_argument
from nas_distill.config import DataConfig
from nas_distill.knowledge.store import Knowledge
from nas_distill.models.costs.cost import measure_cost
from nas_distill.records import Cost, Recipe

RUNS = Path(__file__).parents[2] / "runs" / "against_pruning"
PEERS = (FASTNAS, TORCH_PRUNING)
METRICS_OF_BUDGETS: tuple[Metric, ...] = ("num_params", "macs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What all contenders share.

    Attributes:
        inputs: Data, teacher and its stored outputs.
        knowledge: The stored outputs.
        teacher: Cost of the teacher.
    """

    inputs: SharedInputs
    knowledge: Knowledge
    teacher: Cost


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch) if arguments.quick else arguments.work.resolve()
        setup = set_up(work, arguments)
        peers = available(arguments.peers)
        found, failed = prune_all(setup, peers, work, arguments)
        found = {OURS: search_all(setup, work, arguments), **found}
        publish(describe(setup, found, arguments), arguments)
    if failed:
        raise SystemExit(EXIT_MISSED)


def parse() -> argparse.Namespace:
    parser = benchmark_parser("against_pruning", __doc__)
    parser.add_argument("--data", default="digits", help="digits, or folder:PATH of an image folder  [default: digits]")
    parser.add_argument("--image-size", type=int, help="image size, pixels  [default: that of the images]")
    parser.add_argument("--train-images", type=int, default=0, help="training images, 0 for all  [default: 0]")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="peers  [default: all]")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.25, 0.1], help="budgets, of the teacher's")
    parser.add_argument("--seeds", type=int, default=3, help="repetitions of everything but the teacher  [default: 3]")
    parser.add_argument("--epochs", type=int, default=40, help="epochs of each fine-tuning  [default: 40]")
    parser.add_argument("--search-epochs", type=int, default=20, help="epochs of a trial of ours  [default: 20]")
    parser.add_argument("--teacher-epochs", type=int, default=40, help="epochs of the teacher  [default: 40]")
    parser.add_argument("--learning-rate", type=float, default=4e-3, help="peak learning rate  [default: 0.004]")
    parser.add_argument("--rate-share", type=float, default=Recipe.model_fields["fine_tuning_rate_share"].default,
                        help="factor on it for fine-tuning, ours and the peers'  [default: %(default)s]")  # fmt: skip
    parser.add_argument("--batch-size", type=int, help="batch size  [default: 32 for digits, otherwise 64]")
    parser.add_argument("--space", default="teacher", help="search space of ours  [default: teacher]")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings of ours")
    add_execution_argument(parser)
    parser.add_argument("--processes", type=int, default=2, help="trainings in parallel  [default: 2]")
    parser.add_argument("--threads", type=int, default=1, help="torch threads per process  [default: 1]")
    parser.add_argument("--work", type=Path, metavar="DIR", help="folder of logs and runs  [default: runs/...]")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seeds, arguments.epochs, arguments.search_epochs, arguments.teacher_epochs = 1, 2, 2, 2
        arguments.train_images, arguments.shares = 600, [0.5]
    arguments.name = Path(arguments.data.partition(":")[2]).name or arguments.data
    arguments.work = arguments.work or RUNS / arguments.name
    arguments.batch_size = arguments.batch_size or (32 if arguments.data == "digits" else 64)
    return arguments


def set_up(work: Path, arguments: argparse.Namespace) -> Setup:
    """Prepare images, train the teacher unless `work` has one, and store its outputs."""
    data = DataConfig(
        source=arguments.data,
        image_size=arguments.image_size,
        max_train_images=arguments.train_images or None,
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
    return Setup(
        inputs=SharedInputs(
            folder=material.folder, data=data, knowledge=knowledge.folder, teacher=where, device="cpu",
            threads=arguments.threads,
        ),
        knowledge=knowledge,
        teacher=measure_cost(
            SMALL_TEACHER, num_classes=manifest.num_classes, channels=manifest.channels, image_size=manifest.image_size
        ),
    )  # fmt: skip


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    return Recipe(
        epochs=arguments.epochs, batch_size=arguments.batch_size, learning_rate=arguments.learning_rate,
        fine_tuning_rate_share=arguments.rate_share,
    )  # fmt: skip


def prune_all(
    setup: Setup, peers: Sequence[str], work: Path, arguments: argparse.Namespace
) -> tuple[dict[str, Found], int]:
    """Return the peers' networks by seed, and the number of failed trainings."""
    key = setup.knowledge.manifest.key
    tasks = [
        PruneTask(
            student=SMALL_TEACHER, recipe=recipe_of(arguments).for_fine_tuning(), seed=seed, data_id=key.data_id,
            teacher_sha256=key.teacher_sha256, plan=key.plan, execution=EXECUTIONS[arguments.execution], device="cpu",
            online=False, peer=peer, metric=metric, share=share,
        )
        for seed in range(arguments.seeds)
        for peer in peers
        for metric in METRICS_OF_BUDGETS
        for share in arguments.shares
    ]  # fmt: skip
    log = TaskLog(None if arguments.quick else work / "pruned.jsonl", Outcome[FoundNetwork])
    found: dict[str, dict[int, list[FoundNetwork]]] = {peer: {} for peer in peers}
    failed = 0
    for task, outcome in run_all(
        tasks, setup.inputs, processes=arguments.processes, task_log=log, work=prune_and_train
    ):
        if outcome.result is None:
            failed += 1
        else:
            found[task.peer].setdefault(task.seed, []).append(outcome.result)
        print(
            f"{task.peer}, {100 * task.share:g} % of the {NAMES[task.metric]}, seed {task.seed}: {outcome.summary()}",
            flush=True,
        )
    return dict(found), failed


def search_all(setup: Setup, work: Path, arguments: argparse.Namespace) -> Found:
    """Return the students of one search per seed."""
    settings = [
        "--data", arguments.data, "--space", arguments.space, "--epochs", str(arguments.search_epochs),
        "--batch-size", str(arguments.batch_size), "--learning-rate", str(arguments.learning_rate),
        "--max-params", f"{100 * max(arguments.shares):g}%",
        "--objectives", "gap_points,num_params,macs", "--max-parallel", str(arguments.processes),
        "--set", f"recipe.fine_tuning_rate_share={arguments.rate_share}",
    ]  # fmt: skip
    if arguments.image_size:
        settings += ["--image-size", str(arguments.image_size)]
    if arguments.train_images:
        settings += ["--max-train-images", str(arguments.train_images)]
    for setting in arguments.set:
        settings += ["--set", setting]
    trainings = len(METRICS_OF_BUDGETS) * len(arguments.shares)
    found = {}
    for seed in range(arguments.seeds):
        plan = SearchPlan(seed=seed, epoch_budget=trainings * arguments.epochs, arguments=tuple(settings))
        found[seed] = search(plan, setup.inputs, work / f"search-{seed}")
        for network in found[seed]:
            print(f"{OURS}, seed {seed}: {network.summary()}", flush=True)
    return found


def describe(setup: Setup, found: dict[str, Found], arguments: argparse.Namespace) -> Report:
    teacher = setup.teacher
    tables, judged = [], []
    for metric in METRICS_OF_BUDGETS:
        cost = teacher.num_params if metric == "num_params" else teacher.macs
        title = f"Networks within shares of the teacher's {cost:,} {NAMES[metric]}, {arguments.name}"
        tables.append(comparison_table(title, metric, arguments.shares, teacher, found))
        judged += verdicts(metric, arguments.shares, teacher, found)
    return Report(
        name=f"against_pruning/{arguments.name}",
        tables=tuple(tables),
        verdicts=tuple(judged),
        conditions=conditions(
            seed=list(range(arguments.seeds)),
            threads=arguments.threads,
            epochs=arguments.epochs,
            search_epochs=arguments.search_epochs,
            space=arguments.space,
            rate_share=arguments.rate_share,
            execution=arguments.execution,
        ),
    )
