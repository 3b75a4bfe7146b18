"""Make tables of full learning curves for `benchmarks.search_quality`, by training random candidates.

Candidates are drawn uniformly from a shipped space and the shipped recipe space (`search_spaces/recipes.py`). Like a
search, the program rejects candidates that are not smaller than the teacher or exceed `--max-macs`. Each is trained for
all epochs, regardless of its recipe's early stopping, which the reader of the table applies. After every epoch, both
the moving average, which a search evaluates, and the raw weights are measured on validation. The first candidates do
not depend on `--candidates`; second seeds run last. Precision and memory format are fixed, never probed.

Finished trainings are logged in `--work`. The same command resumes an interrupted run; with fewer `--candidates` it
makes a table of the finished ones.

    python -m benchmarks.search_quality.make_tables               # digits, space tiny: tables/digits-tiny.parquet
    python -m benchmarks.search_quality.make_tables --data folder:PATH --teacher local-dir:PATH --space resnet \
        --epochs 30 --candidates 60 --second-seed 0 --train-images 4000 --validation-images 1000 --max-macs 5000000

The exit status is 1 if a training ended because of a dead process or a bug. A network that reached NaN is a row.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import optuna
import torch

from benchmarks.common.materials import Material
from benchmarks.common.pool import run_all
from benchmarks.common.program import EXIT_MISSED, commit, processor
from benchmarks.common.tasks import Outcome, Task, TaskLog
from benchmarks.common.trainings import EXECUTIONS, SharedInputs, add_execution_argument
from benchmarks.search_quality.candidates import Candidate, CandidateSource, draw
from benchmarks.search_quality.curve_table import CURVES, TABLES, CurveTable, Row, write_table
from benchmarks.search_quality.curves import Curve, train_curve, training_seed
from nas_distill.callbacks import NullProgress
from nas_distill.config import (
    LOCAL_DIR,
    DataConfig,
    SearchConfig,
    SpaceConfig,
    TeacherConfig,
    ViewsConfig,
)
from nas_distill.data.views.plan import plan_views
from nas_distill.knowledge.store import Knowledge
from nas_distill.models.teacher import Teacher, load_teacher
from nas_distill.records import RANDOM, Recipe, SpaceContext, TeacherRecord
from nas_distill.search.setup.space_context import plan_space
from nas_distill.search.setup.teacher import DIGITS_TEACHER
from nas_distill.train.teacher import METRICS, fit_teacher, measure_teacher

RUNS = Path(__file__).parents[2] / "runs" / "curve_tables"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Inputs that all trainings share.

    Attributes:
        config: Search that would propose these candidates.
        material: Prepared images.
        knowledge: Stored teacher outputs.
        teacher: Record of the teacher, with its metrics.
        context: What the space of the candidates knows.
        inputs: The same inputs in a form for other processes.
    """

    config: SearchConfig
    material: Material
    knowledge: Knowledge
    teacher: TeacherRecord
    context: SpaceContext
    inputs: SharedInputs


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.processes * arguments.threads)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch) if arguments.quick else arguments.work or RUNS / arguments.name
        setup = set_up(arguments, work)
        candidates = draw_candidates(setup, arguments)
        rows, lost = train(setup, candidates, arguments, TaskLog(work / "curves.jsonl", Outcome[Curve]))
        folder = arguments.out or (Path(scratch) if arguments.quick else TABLES)
        path = folder / f"{arguments.name}.parquet"
        write_table(CurveTable(rows=tuple(rows), provenance=provenance(setup, candidates, arguments)), path)
        failed = sum(bool(row.error) for row in rows)
        print(f"{path}: {len(rows)} trainings ({failed} failed), {path.stat().st_size / 1024:.0f} KiB")
    if lost:
        raise SystemExit(EXIT_MISSED)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search_quality.make_tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", default="digits", help="digits, or folder:PATH of an image folder  [default: digits]")
    parser.add_argument("--teacher", help="local-dir:PATH  [default for digits: train the teacher of a search]")
    parser.add_argument("--space", default="tiny", help="shipped space, or FILE.py[:function]  [default: tiny]")
    parser.add_argument("--name", help="name of the table  [default: DATA-SPACE]")
    parser.add_argument("--candidates", type=int, default=300, help="number of candidates  [default: 300]")
    parser.add_argument("--second-seed", type=int, help="number of candidates with a second seed  [default: a third]")
    parser.add_argument("--epochs", type=int, default=27, help="epochs per training  [default: 27]")
    parser.add_argument("--batch-size", type=int, help="batch size  [default: 32 for digits, otherwise 64]")
    parser.add_argument("--train-images", type=int, default=0, help="training images, 0 for all  [default: 0]")
    parser.add_argument("--validation-images", type=int, default=0, help="validation images, 0 for all  [default: 0]")
    parser.add_argument("--initial-weights", default=RANDOM, help="random, or random,teacher  [default: random]")
    parser.add_argument("--max-macs", type=int, help="limit of multiply-accumulates per image")
    parser.add_argument("--seed", type=int, default=0, help="seed of candidates and trainings  [default: 0]")
    add_execution_argument(parser)
    parser.add_argument("--device", default="cpu", help="device  [default: cpu]")
    parser.add_argument("--processes", type=int, default=2, help="trainings in parallel  [default: 2]")
    parser.add_argument("--threads", type=int, default=1, help="torch threads per process  [default: 1]")
    parser.add_argument("--work", type=Path, metavar="DIR", help="folder of the log  [default: runs/curve_tables/NAME]")
    parser.add_argument("--out", type=Path, help="folder for the table  [default: benchmarks/search_quality/tables]")
    parser.add_argument("--quick", action="store_true", help="run a few trainings to check that the program works")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.candidates, arguments.second_seed, arguments.epochs, arguments.train_images = 4, 1, 3, 320
    if arguments.data != "digits" and arguments.teacher is None:
        parser.error("--teacher local-dir:PATH is needed for data other than digits")
    data = Path(arguments.data.partition(":")[2]).name or arguments.data
    arguments.name = arguments.name or f"{data}-{Path(arguments.space.partition(':')[0]).stem}"
    arguments.batch_size = arguments.batch_size or (32 if arguments.data == "digits" else 64)
    if arguments.second_seed is None:
        arguments.second_seed = arguments.candidates // 3
    return arguments


def set_up(arguments: argparse.Namespace, folder: Path) -> Setup:
    """Prepare the inputs that all trainings share: train and measure the teacher, and store its outputs."""
    data = DataConfig(
        source=arguments.data,
        max_train_images=arguments.train_images or None,
        max_validation_images=arguments.validation_images or None,
    )
    material, device = Material.prepare(data, folder / "data"), torch.device(arguments.device)
    where = arguments.teacher or teacher_of_digits(material, folder / "teacher", arguments)
    config = SearchConfig(
        data=data,
        teacher=TeacherConfig(model=where),
        space=SpaceConfig(
            name=arguments.space,
            recipe="search",
            max_macs=arguments.max_macs,
            initial_weights=arguments.initial_weights.split(","),
        ),
        recipe=Recipe(epochs=arguments.epochs, batch_size=arguments.batch_size),
    )
    teacher = open_teacher(where, material).to(device)
    views = plan_views(config.views, material.manifest, epochs=arguments.epochs, online=False).count
    print(f"storing teacher outputs for {views} views of {material.manifest.num_train:,} images", flush=True)
    knowledge, _ = material.knowledge(teacher, views=views, device=device)
    return Setup(
        config=config,
        material=material,
        knowledge=knowledge,
        teacher=measure_teacher(teacher, material.validation, trained_on_data_id=None),
        context=plan_space(config.teacher, config.space, material.manifest.network_shape).context,
        inputs=SharedInputs(
            folder=material.folder,
            data=data,
            knowledge=knowledge.folder,
            teacher=where,
            device=arguments.device,
            threads=arguments.threads,
        ),
    )


def teacher_of_digits(material: Material, folder: Path, arguments: argparse.Namespace) -> str:
    """Train the teacher that a search of digits trains, unless `folder` has it, and return its location."""
    if not (folder / METRICS).exists():
        assert DIGITS_TEACHER.model is not None
        print("training the teacher", flush=True)
        recipe = DIGITS_TEACHER.recipe
        fit_teacher(
            DIGITS_TEACHER.model,
            folder,
            arguments=DIGITS_TEACHER.arguments,
            recipe=recipe.model_copy(update={"epochs": 3}) if arguments.quick else recipe,
            splits=(material.train, material.validation),
            views=ViewsConfig(),
            seed=0,
            device=torch.device(arguments.device),
            execution=EXECUTIONS["plain"],
            progress=NullProgress(),
        )
    return f"{LOCAL_DIR}{folder}"


def open_teacher(where: str, material: Material) -> Teacher:
    manifest = material.manifest
    return load_teacher(where, class_names=manifest.class_names, channels=manifest.channels)


def draw_candidates(setup: Setup, arguments: argparse.Namespace) -> list[Candidate]:
    source = CandidateSource.of(setup.config, setup.context, setup.teacher.cost)
    return draw(source, count=arguments.candidates, seed=arguments.seed)


def train(
    setup: Setup, candidates: Sequence[Candidate], arguments: argparse.Namespace, task_log: TaskLog[Curve]
) -> tuple[list[Row], int]:
    """Run the trainings that are not logged yet, and return the rows and the number of lost trainings."""
    order = [(candidate, 0) for candidate in candidates]
    order += [(candidate, 1) for candidate in candidates[: arguments.second_seed]]
    keys = {task_of(setup, candidate, replicate, arguments).digest(): (candidate, replicate)
              for candidate, replicate in order}  # fmt: skip
    tasks = [task_of(setup, candidate, replicate, arguments) for candidate, replicate in order]
    rows: list[Row] = []
    lost, started, logged = 0, time.monotonic(), sum(task_log.get(task) is not None for task in tasks)
    print(f"{len(tasks)} trainings, {logged} of them logged already", flush=True)
    for number, (task, outcome) in enumerate(
        run_all(tasks, setup.inputs, processes=arguments.processes, task_log=task_log, work=train_curve), start=1
    ):
        candidate, replicate = keys[task.digest()]
        if outcome.result is None:
            lost += 1
        else:
            rows.append(row_of(candidate, replicate, task, outcome.commit, outcome.result))
        if number > logged:
            left = (time.monotonic() - started) / (number - logged) * (len(tasks) - number)
            print(
                f"{number}/{len(tasks)} candidate {candidate.number}, seed {replicate}, {candidate.spec.family}, "
                f"{candidate.cost.num_params:,} parameters: {outcome.summary()}; about {left / 60:.0f} min left",
                flush=True,
            )
    return sorted(rows, key=lambda row: (row.candidate, row.replicate)), lost


def task_of(setup: Setup, candidate: Candidate, replicate: int, arguments: argparse.Namespace) -> Task:
    key = setup.knowledge.manifest.key
    return Task(
        student=candidate.spec,
        recipe=candidate.recipe,
        seed=training_seed(arguments.seed, candidate.number, replicate),
        data_id=key.data_id,
        teacher_sha256=key.teacher_sha256,
        plan=key.plan,
        execution=EXECUTIONS[arguments.execution],
        device=torch.device(arguments.device).type,
        online=False,
    )


def row_of(candidate: Candidate, replicate: int, task: Task, code: str, curve: Curve) -> Row:
    return Row(
        candidate=candidate.number,
        replicate=replicate,
        seed=task.seed,
        parameters=candidate.parameters,
        spec=candidate.spec,
        recipe=candidate.recipe,
        cost=candidate.cost,
        commit=code,
        error=curve.error,
        curves={name: np.array(getattr(curve, name), dtype=np.float64) for name in CURVES},
    )


def provenance(setup: Setup, candidates: Sequence[Candidate], arguments: argparse.Namespace) -> dict[str, object]:
    """Return everything that is needed to judge, replay or repeat the table."""
    manifest, config = setup.material.manifest, setup.config
    distributions = {name: text for candidate in candidates for name, text in candidate.distributions.items()}
    return {
        "space": config.space.name,
        "recipe_space": config.space.recipe,
        "initial_weights": config.space.initial_weights,
        "teacher_shape": setup.context.teacher.model_dump(mode="json"),
        "base_recipe": config.recipe.model_dump(mode="json"),
        "distributions": distributions,
        "epochs": arguments.epochs,
        "seed": arguments.seed,
        "max_macs": arguments.max_macs,
        "data": Path(arguments.data.partition(":")[2]).name or arguments.data,
        "data_id": manifest.data_id,
        "image_size": manifest.image_size,
        "channels": manifest.channels,
        "train_images": manifest.num_train,
        "validation_images": manifest.num_validation,
        "views": setup.knowledge.manifest.key.plan.count,
        "teacher": setup.teacher.model_dump(mode="json"),
        "execution": EXECUTIONS[arguments.execution].model_dump(mode="json"),
        "device": arguments.device,
        "processor": processor(),
        "processes": arguments.processes,
        "threads": arguments.threads,
        "torch": torch.__version__,
        "optuna": optuna.__version__,
        "python": platform.python_version(),
        "commit": commit(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


if __name__ == "__main__":
    main()
