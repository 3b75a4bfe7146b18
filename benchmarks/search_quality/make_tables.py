"""Makes tables of full learning curves for `search_quality.py`: real trainings of candidates drawn at random.

Candidates come from a shipped space and the shipped recipe space (`search_spaces/recipes.py`), drawn uniformly; those
that are not smaller than the teacher, or over `--max-macs`, are left out as a search leaves them out. Each is trained
for all epochs, whatever early stopping its recipe has: the reader of the table applies it. After every epoch both the
moving average, which a search evaluates, and the raw weights are measured on validation. The first candidates do not
depend on how many are asked for; second seeds come last. Precision and memory format are fixed, never probed.

Finished trainings are kept in `--work`, line by line: after a kill the same command goes on, and with fewer
`--candidates` it makes a table of what there is.

    python -m benchmarks.curve_tables.py                 # digits, space tiny: tables/digits-tiny.parquet
    python -m benchmarks.curve_tables.py --data folder:PATH --teacher local-dir:PATH --space resnet --epochs 30 \
        --candidates 60 --second-seed 0 --train-images 4000 --validation-images 1000 --max-macs 5000000

The exit code is 1 when a process died or the program itself failed in a training; a network that went to NaN is a row.
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
from benchmarks.search_quality.curve_table import CURVES, TABLES, CurveTable, Row, write_table
from benchmarks.search_quality.curves import Candidate, CandidateSource, Curve, draw, train_curve, training_seed
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
from nas_distill.records import Recipe, TeacherRecord
from nas_distill.records.network_shape import NetworkShape
from nas_distill.search.proposal.limits import make_limits
from nas_distill.search.setup.teacher import DIGITS_TEACHER
from nas_distill.search.spaces.loading import load_space
from nas_distill.search.spaces.recipes import load_recipe_space, make_choices
from nas_distill.train.teacher import METRICS, fit_teacher, measure_teacher

RUNS = Path(__file__).parents[2] / "runs" / "curve_tables"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What all trainings share.

    Attributes:
        config: The search whose candidates these are.
        material: The images.
        knowledge: The teacher's stored answers.
        teacher: The teacher, measured.
        inputs: The same for other processes.
    """

    config: SearchConfig
    material: Material
    knowledge: Knowledge
    teacher: TeacherRecord
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", help="digits, or folder:PATH of an image folder")
    parser.add_argument("--teacher", help="local-dir:PATH; digits train the one that a search trains")
    parser.add_argument("--space", default="tiny", help="a shipped space, or FILE.py[:function]")
    parser.add_argument("--name", help="of the table  [default: DATA-SPACE]")
    parser.add_argument("--candidates", type=int, default=300)
    parser.add_argument("--second-seed", type=int, help="candidates trained twice  [default: a third]")
    parser.add_argument("--epochs", type=int, default=27)
    parser.add_argument("--batch-size", type=int, help="[default: 32 for digits, 64]")
    parser.add_argument("--train-images", type=int, default=0, help="0 for all")
    parser.add_argument("--validation-images", type=int, default=0, help="0 for all")
    parser.add_argument("--max-macs", type=int, help="per image")
    parser.add_argument("--seed", type=int, default=0)
    add_execution_argument(parser)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", type=int, default=2, help="trainings at once")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--work", type=Path, metavar="DIR", help=f"keeps all between runs  [default: {RUNS}/NAME]")
    parser.add_argument("--out", type=Path, help=f"folder for the table  [default: {TABLES.name}/, quick: none]")
    parser.add_argument("--quick", action="store_true", help="a few trainings, to see that the program works")
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
    """Return what all trainings share; the teacher is trained, measured and asked about all views here."""
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
        space=SpaceConfig(name=arguments.space, recipe="search", max_macs=arguments.max_macs),
        recipe=Recipe(epochs=arguments.epochs, batch_size=arguments.batch_size),
    )
    teacher = open_teacher(where, material).to(device)
    views = plan_views(config.views, material.manifest, epochs=arguments.epochs, online=False).count
    print(f"asking the teacher about {views} views of {material.manifest.num_train:,} images", flush=True)
    knowledge, _ = material.knowledge(teacher, views=views, device=device)
    return Setup(
        config=config,
        material=material,
        knowledge=knowledge,
        teacher=measure_teacher(teacher, material.validation, trained_on_data_id=None),
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
    """Return the teacher that a search of the digits trains, or the one that an earlier run left in `folder`."""
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
    config, manifest = setup.config, setup.material.manifest
    source = CandidateSource(
        space=load_space(config.space.name),
        recipes=load_recipe_space(config.space.recipe),
        base=config.recipe,
        choices=make_choices(config.recipe, config.teacher, mixes=config.views.mixes),
        limits=make_limits(config.space, setup.teacher.cost),
        shape=NetworkShape(
            num_classes=manifest.num_classes, channels=manifest.channels, image_size=manifest.image_size
        ),
    )
    return draw(source, count=arguments.candidates, seed=arguments.seed)


def train(
    setup: Setup, candidates: Sequence[Candidate], arguments: argparse.Namespace, task_log: TaskLog[Curve]
) -> tuple[list[Row], int]:
    """Train everything that is not in the task_log; returns the rows, and how many trainings were lost."""
    order = [(candidate, 0) for candidate in candidates]
    order += [(candidate, 1) for candidate in candidates[: arguments.second_seed]]
    places = {task_of(setup, candidate, replicate, arguments).digest(): (candidate, replicate)
              for candidate, replicate in order}  # fmt: skip
    tasks = [task_of(setup, candidate, replicate, arguments) for candidate, replicate in order]
    rows: list[Row] = []
    lost, started, inherited = 0, time.monotonic(), sum(task_log.get(task) is not None for task in tasks)
    print(f"{len(tasks)} trainings, {inherited} of them kept from before", flush=True)
    for number, (task, outcome) in enumerate(
        run_all(tasks, setup.inputs, processes=arguments.processes, task_log=task_log, work=train_curve), start=1
    ):
        candidate, replicate = places[task.digest()]
        if outcome.result is None:
            lost += 1
        else:
            rows.append(row_of(candidate, replicate, task, outcome.commit, outcome.result))
        if number > inherited:
            left = (time.monotonic() - started) / (number - inherited) * (len(tasks) - number)
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
    """Return what a reader needs to judge the table, to replay it and to make it again."""
    manifest, config = setup.material.manifest, setup.config
    distributions = {name: text for candidate in candidates for name, text in candidate.distributions.items()}
    return {
        "space": config.space.name,
        "recipe_space": config.space.recipe,
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
