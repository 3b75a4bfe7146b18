"""Measure the cost of reading a long run: `nas_distill pareto RUN` in a process of its own, on a study of many trials.

The study is written in bulk into Optuna's tables. Its records have the form and size of those of a real search with
searched recipes; most of its trials were stopped early. CPU time is listed beside wall time, because other programs may
slow the machine down.

    python -m benchmarks.scale.reading [--work DIR] [--trials 10000] [--rounds 5]

With --work, the study is kept and used again. The exit status is 1 if a target is missed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import FloatDistribution, distribution_to_json

# Private: Optuna's public API adds trials one by one, which takes too long for 10,000 trials.
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from benchmarks.common.program import (
    EXIT_MISSED,
    Column,
    Report,
    Table,
    Verdict,
    benchmark_parser,
    conditions,
    median,
    publish,
)
from nas_distill.config import SearchConfig
from nas_distill.config.loading import dump_config
from nas_distill.optuna_private import study_id_of
from nas_distill.records import (  # fmt: skip
    Cost,
    EpochMetrics,
    ExecutionInfo,
    Normalisation,
    Recipe,
    StudentMetrics,
    StudentSpec,
    TeacherRecord,
    TrialOutcome,
    TrialRecord,
    TrialStatus,
    TrialTask,
)
from nas_distill.records.task import TRIAL_SCHEMA_VERSION
from nas_distill.run_directory.files import write_record, write_text
from nas_distill.run_directory.layout import RunDirectory

LIMIT_S, LIMIT_MIB = 5.0, 1024.0
EPOCHS, STOPS, SHARE_COMPLETE = 30, (10, 15, 20), 0.15
PARAMETERS, CLASSES, CHUNK = 20, 10, 500
_LAUNCHER = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE)
wall, used = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
lines = done.stdout.count(10)
print(json.dumps([wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, lines, done.returncode]))
"""
"""Start a process and measure it. The launcher is small: Linux first counts the parent's memory as the child's peak."""
PARTS = (
    ("--format", "json"),
    ("--format", "csv", "--all", "--where", "gap_points < 20 and num_params <= 1e5"),
    ("--all",),
    ("--objectives", "gap_points,divergence_nats,num_params,macs"),
)

COLUMNS = (
    Column("arguments", "arguments"),
    Column("wall_s", "wall, s", "{:.2f}"),
    Column("cpu_s", "CPU, s", "{:.2f}"),
    Column("peak_mib", "peak, MiB", "{:.0f}"),
    Column("lines", "lines printed", "{}"),
)


def make_teacher() -> TeacherRecord:
    return TeacherRecord(
        architecture="resnet56", weights_sha256="0" * 64, class_names=tuple(map(str, range(CLASSES))),
        normalisation=Normalisation(mean=(0.5,) * 3, std=(0.5,) * 3),
        cost=Cost(num_params=855_770, macs=125_485_706, size_bytes=3_500_000), top1=0.93, nll_nats=0.3,
        class_top1=(0.93,) * CLASSES, class_counts=(500,) * CLASSES, data_id="d" * 12,
    )  # fmt: skip


def record(number: int, generator: np.random.Generator, teacher: TeacherRecord) -> TrialRecord:
    complete = generator.random() < SHARE_COMPLETE
    epochs = EPOCHS if complete else int(generator.choice(STOPS))
    size = int(10 ** generator.uniform(3.5, 5.9))
    gap = 60.0 * (size / 3000) ** -0.6 + float(generator.exponential(3.0))
    gaps = gap + (80.0 - gap) * np.exp(-0.2 * np.arange(1, epochs + 1)) + generator.normal(0.0, 0.3, epochs)
    widths = [int(width) for width in generator.integers(8, 64, size=4)]
    task = TrialTask(
        number=number, seed=int(generator.integers(2**32)),
        spec=StudentSpec(
            architecture="small_resnet", family=("resnet", "mobilenet", "vit")[number % 3],
            arguments={"widths": widths, "depths": [1, 2, 2, 1]},
        ),
        recipe=Recipe(
            epochs=EPOCHS, learning_rate=float(10 ** generator.uniform(-3, -1)),
            losses={"kd": {"temperature": float(generator.uniform(1, 8)), "weight": float(generator.uniform(0, 1))}},
        ),
        cost=Cost(num_params=size, macs=120 * size, size_bytes=4 * size + 512),
    )  # fmt: skip
    outcome = TrialOutcome(
        status=TrialStatus.COMPLETE if complete else TrialStatus.STOPPED,
        curve=tuple(_point(epoch, float(value), teacher) for epoch, value in enumerate(gaps, 1)),
        metrics=_metrics(float(gaps[-1]), size, teacher, generator) if complete else None,
    )
    return TrialRecord(task=task, execution=ExecutionInfo(device="cpu"), outcome=outcome)


def _point(epoch: int, gap: float, teacher: TeacherRecord) -> EpochMetrics:
    top1 = min(1.0, max(0.0, teacher.top1 - gap / 100.0))
    return EpochMetrics(
        epoch=epoch, train_loss=2.3 * 0.9**epoch + top1 / 7, loss_parts={"kd": 1.1 / epoch, "label": 2.1 / epoch},
        learning_rate=0.004 / epoch, top1=top1, nll_nats=1.1 - top1, gap_points=gap, agreement=top1 * 0.99,
        divergence_nats=abs(gap) / 41.0, wall_time_s=12.0 + top1,
    )  # fmt: skip


def _metrics(gap: float, size: int, teacher: TeacherRecord, generator: np.random.Generator) -> StudentMetrics:
    top1 = min(1.0, max(0.0, teacher.top1 - gap / 100.0))
    return StudentMetrics(
        top1=top1, nll_nats=1.1 - top1, gap_points=gap, agreement=top1 * 0.99,
        divergence_nats=abs(gap) / 41.0 + float(generator.exponential(0.05)), train_top1=top1, train_agreement=top1,
        train_divergence_nats=0.1, generalisation_gap_points=0.0, capacity_ratio=size / teacher.cost.num_params,
        class_gap_points=tuple(float(gap + shift) for shift in generator.normal(size=CLASSES)),
        class_counts=teacher.class_counts, ece=0.05, feature_cka=0.8,
    )  # fmt: skip


def make_run(path: Path, trials: int) -> RunDirectory:
    """Write a run of `trials` trials, and one rejected candidate for every ten of them."""
    run, config, teacher = RunDirectory(path), SearchConfig(), make_teacher()
    write_record(run.teacher_record, teacher)
    storage = optuna.storages.RDBStorage(run.own_storage)
    study = optuna.create_study(
        study_name=config.resources.study_name, storage=storage, directions=["minimize"] * len(config.objectives)
    )
    study.set_user_attr("schema_version", TRIAL_SCHEMA_VERSION)
    study.set_user_attr("objectives", list(config.objectives))
    study.set_user_attr("teacher", teacher.model_dump_json())
    generator = np.random.default_rng(0)
    with Session(storage.engine) as session:
        session.execute(text("PRAGMA synchronous = OFF"))
        for start in range(0, trials, CHUNK):
            _insert(session, study_id_of(study), [
                record(number, generator, teacher) for number in range(start, min(start + CHUNK, trials))
            ])  # fmt: skip
            session.commit()
        _insert_rejected(session, study_id_of(study), range(trials, trials + trials // 10))
        session.commit()
    storage.remove_session()
    storage.engine.dispose()
    write_text(run.config, dump_config(config))  # last: the configuration marks a run directory as complete
    return run


def _insert(session: Session, study_id: int, records: list[TrialRecord]) -> None:
    session.execute(insert(models.TrialModel.__table__), [_trial(one.number, study_id, one.status) for one in records])
    attributes, values, parameters = [], [], []
    distribution = distribution_to_json(FloatDistribution(0.0, 1.0))
    for one in records:
        stored = {"task": one.task.model_dump_json(), "result": one.result().model_dump_json()}
        attributes += [_attribute(one.number, key, value) for key, value in stored.items()]
        parameters += [
            {
                "trial_id": one.number + 1, "param_name": f"p{place}", "param_value": place / PARAMETERS,
                "distribution_json": distribution,
            }
            for place in range(PARAMETERS)
        ]  # fmt: skip
        if one.metrics is not None:
            values += [
                {"trial_id": one.number + 1, "objective": place, "value": value, "value_type": "FINITE"}
                for place, value in enumerate((one.metrics.gap_points, float(one.cost.num_params)))
            ]
    for model, rows in (
        (models.TrialUserAttributeModel, attributes),
        (models.TrialValueModel, values),
        (models.TrialParamModel, parameters),
    ):
        session.execute(insert(model.__table__), rows)


def _insert_rejected(session: Session, study_id: int, numbers: range) -> None:
    if not numbers:
        return
    rows = [{**_trial(number, study_id, None), "state": TrialState.PRUNED} for number in numbers]
    session.execute(insert(models.TrialModel.__table__), rows)
    session.execute(
        insert(models.TrialUserAttributeModel.__table__),
        [_attribute(number, "rejection", "capacity ratio 1.30 is not below 1") for number in numbers],
    )


def _trial(number: int, study_id: int, status: TrialStatus | None) -> dict[str, Any]:
    start = datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None) + timedelta(seconds=number)  # naive UTC, as Optuna's
    return {
        "trial_id": number + 1, "number": number, "study_id": study_id, "datetime_start": start,
        "datetime_complete": start + timedelta(seconds=60),
        "state": TrialState.COMPLETE if status is TrialStatus.COMPLETE else TrialState.FAIL,
    }  # fmt: skip


def _attribute(number: int, key: str, value: str) -> dict[str, Any]:
    return {"trial_id": number + 1, "key": key, "value_json": json.dumps(value)}


def measured(run: RunDirectory, arguments: tuple[str, ...]) -> tuple[float, float, float, int]:
    """Return wall seconds, CPU seconds, peak memory in MiB and number of printed lines of one process."""
    command = [sys.executable, "-m", "nas_distill", "pareto", str(run.path), *arguments]
    done = subprocess.run([sys.executable, "-c", _LAUNCHER, *command], check=True, capture_output=True, text=True)
    wall, cpu, peak, lines, code = json.loads(done.stdout)
    if code != 0:
        raise SystemExit(f"{' '.join(command)}: exit status {code}: {done.stderr}")
    return wall, cpu, peak, lines


def rows(run: RunDirectory, rounds: int) -> Iterator[dict[str, Any]]:
    for arguments in ((), *PARTS):
        walls, seconds, peaks, lines = zip(*(measured(run, arguments) for _ in range(rounds)), strict=True)
        yield {
            "arguments": " ".join(arguments) or "none", "wall_s": median(walls), "cpu_s": median(seconds),
            "peak_mib": max(peaks), "lines": lines[0],
        }  # fmt: skip


def main() -> None:
    parser = benchmark_parser("scale.reading", __doc__)
    parser.add_argument("--work", type=Path, help="folder in which to keep the study  [default: a temporary one]")
    parser.add_argument("--trials", type=int, default=10_000, help="trials of the study  [default: 10000]")
    parser.add_argument("--rounds", type=int, default=5, help="processes per command  [default: 5]")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.trials, arguments.rounds = 200, 1
    with tempfile.TemporaryDirectory() as temporary:
        path = (arguments.work or Path(temporary)) / f"reading-{arguments.trials}"
        run = RunDirectory(path) if (path / "config.yaml").exists() else make_run(path, arguments.trials)
        table = tuple(rows(run, arguments.rounds))
    wall_s, peak_mib = max(row["wall_s"] for row in table), max(row["peak_mib"] for row in table)
    verdicts = (
        Verdict(text=f"at most {wall_s:.2f} s with the start of Python (target: {LIMIT_S:g} s)", met=wall_s <= LIMIT_S),
        Verdict(text=f"at most {peak_mib:.0f} MiB (target: {LIMIT_MIB:g} MiB)", met=peak_mib <= LIMIT_MIB),
    )
    facts = conditions(
        seed=0, threads=1, trials=arguments.trials, rounds=arguments.rounds, load=round(os.getloadavg()[0], 1)
    )
    title = f"nas_distill pareto on a study of {arguments.trials:,} trials"
    publish(
        Report(name="scale/reading", tables=(Table(title=title, columns=COLUMNS, rows=table),), verdicts=verdicts,
               conditions=facts), arguments,
    )  # fmt: skip
    if not arguments.quick and not all(verdict.met for verdict in verdicts):
        raise SystemExit(EXIT_MISSED)


if __name__ == "__main__":
    main()
