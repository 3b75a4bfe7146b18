"""Run directories as a search writes them: real files and a real Optuna study on SQLite."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import TrialState

from nas_distill.config import DataConfig, SearchConfig
from nas_distill.config.loading import dump_config
from nas_distill.data.manifest import DataManifest, SplitSettings
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
from nas_distill.records.base import seal
from nas_distill.records.task import TRIAL_SCHEMA_VERSION
from nas_distill.run_directory.files import write_record, write_text
from nas_distill.run_directory.layout import RunDirectory
from tests.records.factory import changed_record

FAMILIES = (
    "small_resnet",
    "test_vit",
    "test_efficientnet",
    "mobilenetv3",
    "convnext",
    "regnet",
    "mixer",
    "ghostnet",
    "repvit",
)
EPOCHS = 12
VALIDATION_IMAGES = 288
CLASS_NAMES = tuple(str(digit) for digit in range(10))


def make_teacher(*, num_params: int = 1_240_000, top1: float = 0.98) -> TeacherRecord:
    return TeacherRecord(
        architecture="small_resnet",
        weights_sha256="0" * 64,
        class_names=CLASS_NAMES,
        normalisation=Normalisation(mean=(0.5,), std=(0.5,)),
        cost=Cost(num_params=num_params, macs=40 * num_params, size_bytes=4 * num_params),
        top1=top1,
        nll_nats=0.07,
        class_top1=(top1,) * len(CLASS_NAMES),
        class_counts=(29,) * 8 + (28,) * 2,
        data_id="d" * 12,
        trained_on_data_id="d" * 12,
    )


def make_spec(number: int, *, families: int = 3) -> StudentSpec:
    family = FAMILIES[number % families]
    return StudentSpec(
        architecture=family,
        family=family,
        arguments={"width": 8 + number, "depths": [1, 2, 1], "stem_type": "deep"},
    )


def make_metrics(gap_points: float, num_params: int, teacher: TeacherRecord) -> StudentMetrics:
    top1 = min(1.0, max(0.0, teacher.top1 - gap_points / 100.0))
    gap_points = 100.0 * (teacher.top1 - top1)
    classes = np.linspace(-1.0, 3.0, len(CLASS_NAMES)) + gap_points
    return StudentMetrics(
        top1=top1,
        nll_nats=0.05 + 2.0 * (1.0 - top1),
        gap_points=gap_points,
        agreement=max(0.0, top1 - 0.005),
        divergence_nats=0.02 + abs(gap_points) / 40.0,
        train_top1=min(1.0, top1 + 0.01),
        train_agreement=min(1.0, top1 + 0.008),
        train_divergence_nats=0.01 + abs(gap_points) / 45.0,
        generalisation_gap_points=100.0 * (min(1.0, top1 + 0.01) - top1),
        capacity_ratio=num_params / teacher.cost.num_params,
        class_gap_points=tuple(float(value) for value in classes),
        class_counts=teacher.class_counts,
    )


def make_curve(gap_points: float, teacher: TeacherRecord, *, epochs: int = EPOCHS) -> tuple[EpochMetrics, ...]:
    points = []
    for epoch in range(1, epochs + 1):
        gap = gap_points + (100.0 * teacher.top1 - 12.0 - gap_points) * math.exp(-0.55 * epoch)
        top1 = min(1.0, max(0.0, teacher.top1 - gap / 100.0))
        points.append(
            EpochMetrics(
                epoch=epoch, train_loss=2.3 * math.exp(-0.3 * epoch), loss_parts={"kd": 1.0, "label": 1.0},
                learning_rate=1e-3, top1=top1, nll_nats=0.1 + 1.0 - top1, gap_points=gap, agreement=top1,
                divergence_nats=abs(gap) / 40.0, wall_time_s=0.8,
            )
        )  # fmt: skip
    return tuple(points)


def make_record(
    number: int,
    *,
    gap_points: float,
    num_params: int,
    status: TrialStatus = TrialStatus.COMPLETE,
    spec: StudentSpec | None = None,
    teacher: TeacherRecord | None = None,
    epochs: int = EPOCHS,
) -> TrialRecord:
    teacher = teacher or make_teacher()
    done = {TrialStatus.COMPLETE: epochs, TrialStatus.STOPPED: 3, TrialStatus.FAILED: 2}[status]
    task = TrialTask(
        number=number,
        seed=number,
        spec=spec or make_spec(number),
        recipe=Recipe(epochs=epochs),
        cost=Cost(num_params=num_params, macs=31 * num_params, size_bytes=4 * num_params + 512),
    )
    outcome = TrialOutcome(
        status=status,
        curve=make_curve(gap_points, teacher, epochs=done),
        metrics=make_metrics(gap_points, num_params, teacher) if status is TrialStatus.COMPLETE else None,
        error="epoch 3: the training loss is NaN; lower recipe.learning_rate" if status is TrialStatus.FAILED else None,
    )
    return TrialRecord(task=task, execution=ExecutionInfo(device="cpu"), outcome=outcome)


def make_run(
    path: Path,
    records: Sequence[TrialRecord] = (),
    *,
    config: SearchConfig | None = None,
    teacher: TeacherRecord | None = None,
    rejections: Sequence[str] = (),
    running: int = 0,
    lost: int = 0,
) -> RunDirectory:
    """Write a run.

    Args:
        path: Run directory.
        records: Finished trials, which are numbered in this order.
        config: Configuration of the search.
        teacher: Record of the teacher.
        rejections: Reasons of the rejected candidates, one per candidate.
        running: Number of running trials.
        lost: Number of failed trials without a record.
    """
    run, config, teacher = RunDirectory(path), config or SearchConfig(), teacher or make_teacher()
    write_text(run.config, dump_config(config))
    write_record(run.teacher_record, teacher)
    write_record(run.data_manifest, make_manifest(teacher))
    numbered = [changed_record(record, number=number) for number, record in enumerate(records)]
    trials = [_frozen(record, config.objectives) for record in numbered]
    attributes = [{"rejection": reason, "spec": make_spec(0).model_dump_json()} for reason in rejections]
    trials += [optuna.trial.create_trial(state=TrialState.PRUNED, user_attrs=one) for one in attributes]
    for number in range(len(trials), len(trials) + lost):
        task = make_record(number, gap_points=1.0, num_params=1000, spec=make_spec(1)).task
        attribute = {"task": seal(task)}
        trials.append(optuna.trial.create_trial(state=TrialState.FAIL, user_attrs=attribute))
    if config.resources.storage is not None:
        _write_study(config.resources.storage, config, teacher, trials, running)
        return run
    database = run.path / "study.db"
    assert not database.exists()
    values = [(trial.state, trial.values, sorted(trial.user_attrs.items())) for trial in trials]
    key = repr((dump_config(config), teacher, values, running))
    if key not in _STUDIES:
        _write_study(run.own_storage, config, teacher, trials, running)
        _STUDIES[key] = database.read_bytes()
    else:
        database.write_bytes(_STUDIES[key])
    return run


_STUDIES: dict[str, bytes] = {}
"""Study database of each run that was made in this process: Optuna takes 20 ms to add a trial."""


def _write_study(
    url: str, config: SearchConfig, teacher: TeacherRecord, trials: Sequence[optuna.trial.FrozenTrial], running: int
) -> None:
    study = optuna.create_study(
        study_name=config.resources.study_name, storage=url,
        directions=["minimize"] * len(config.objectives), load_if_exists=True,
    )  # fmt: skip
    study.set_user_attr("schema_version", TRIAL_SCHEMA_VERSION)
    study.set_user_attr("objectives", list(config.objectives))
    study.set_user_attr("teacher", seal(teacher))
    study.add_trials(trials)
    for _ in range(running):
        study.ask()


def _frozen(record: TrialRecord, objectives: Sequence[str]) -> optuna.trial.FrozenTrial:
    attributes = {"task": seal(record.task), "result": seal(record.result())}
    if record.metrics is None:
        return optuna.trial.create_trial(state=TrialState.FAIL, user_attrs=attributes)
    values = {**record.cost.model_dump(), **record.metrics.model_dump()}
    return optuna.trial.create_trial(values=[float(values[name]) for name in objectives], user_attrs=attributes)


def make_manifest(teacher: TeacherRecord) -> DataManifest:
    return DataManifest(
        source="digits", class_names=teacher.class_names, image_size=8, channels=1,
        num_train=1149, num_validation=VALIDATION_IMAGES, num_test=360, mean=(0.3,), std=(0.37,),
        images_cached=True, splits=SplitSettings.from_config(DataConfig()), content_id="c" * 12,
        data_id=teacher.data_id,
    )  # fmt: skip


def make_records(
    count: int,
    *,
    families: int = 3,
    seed: int = 0,
    worst_gap: float = 60.0,
    failed: int = 0,
    teacher: TeacherRecord | None = None,
    noise: Callable[[np.random.Generator], float] = lambda generator: float(generator.exponential(2.5)),
) -> list[TrialRecord]:
    """Return students whose gap falls with their size, with noise, as in real searches."""
    teacher = teacher or make_teacher()
    generator = np.random.default_rng(seed)
    records = []
    for number in range(count):
        size = int(10 ** generator.uniform(3.4, 5.7))
        gap = worst_gap * (size / 2500) ** -0.85 - 1.5 + noise(generator)
        status = TrialStatus.FAILED if number >= count - failed else TrialStatus.COMPLETE
        spec = make_spec(number, families=families)
        records.append(make_record(number, gap_points=gap, num_params=size, status=status, spec=spec, teacher=teacher))
    return records
