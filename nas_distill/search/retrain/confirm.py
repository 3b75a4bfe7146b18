"""Confirming picked students: repeated trainings with and without the teacher, scored where no choice was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

import nas_distill.models  # noqa: F401 - registers this project's entrypoints with timm
from nas_distill.analysis.trials.study_reader import read_study
from nas_distill.callbacks import Progress
from nas_distill.config import FIXED_RECIPE, LOCAL_DIR, SearchConfig
from nas_distill.config.loading import load_config
from nas_distill.data.prepare import cache_test_images
from nas_distill.data.splits import open_split
from nas_distill.data.stratified import check_k_folds
from nas_distill.errors import DataError, RunError
from nas_distill.knowledge.teacher_test_logits import store_test_logits
from nas_distill.models.teacher import load_teacher
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.config import read_run_config
from nas_distill.run_directory.files import write_record
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.actor_pool import Purpose, train_repeats, unended
from nas_distill.search.backend.cluster import ray_cluster
from nas_distill.search.retrain.assistants import Assistance
from nas_distill.search.retrain.confirm_plan import Request, plan_confirmation, unreleased
from nas_distill.search.setup.prepare import Prepared, check_holdouts, prepare
from nas_distill.search.setup.teacher_training import driver_device
from nas_distill.search.setup.workers import make_shard_pool, plan_workers
from nas_distill.search.study.ledger import StudyLedger
from nas_distill.search.study.opening import opened_ledger
from nas_distill.train.teacher import measure_teacher

_TASK = "confirm"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmOutcome:
    """How a call ended.

    Attributes:
        run: The run directory.
        interrupted: Ctrl-C or SIGTERM ended it early; the same call goes on.
        planned: Trainings that the request takes.
        new: Those of them that ended in this call.
    """

    run: RunDirectory
    interrupted: bool
    planned: int
    new: int


def confirm_students(
    folder: Path,
    request: Request,
    progress: Progress,
    *,
    resources: Mapping[str, object] | None = None,
    flag_names: Mapping[str, str] | None = None,
) -> ConfirmOutcome:
    """Retrains picked students of a finished search with and without the teacher, as far as that was not done before.

    Without folds they are scored on the test split, which nothing else ever touches.

    Args:
        folder: The run directory.
        request: What is to be confirmed.
        progress: Told of everything.
        resources: `resources.NAME` -> value, instead of the run's own, for these trainings.
        flag_names: Dotted key -> what users call it, for errors.

    Raises:
        RunError: There is no run, another process holds it, or its data or teacher are not those of its trials.
        NasDistillError: Another of its kinds, see `errors`; nothing computed is lost.
    """
    run = RunDirectory(folder.resolve()).existing()
    with run.locked():
        config = read_run_config(run)
        if resources:
            config = load_config(run.config, (), resources, flag_names=flag_names)
        with opened_ledger(
            config.resources.storage or run.own_storage,
            config.resources.study_name,
            config.objectives,
            seed=config.seed,
            sampler=config.sampler,
        ) as ledger:
            planned = plan_confirmation(run, config, ledger.assigned(), request)
            for line in unreleased(planned) if request.release else ():
                progress.event(_TASK, line)
            _check_teacher(run)
            left = len(unended(run, planned))
            try:
                if left:
                    with ray_cluster(config.resources):
                        _train(run, config, request=request, planned=planned, ledger=ledger, progress=progress)
            except KeyboardInterrupt:
                ended = left - len(unended(run, planned))
                return ConfirmOutcome(run=run, interrupted=True, planned=len(planned), new=ended)
    return ConfirmOutcome(run=run, interrupted=False, planned=len(planned), new=left)


def _train(
    run: RunDirectory,
    config: SearchConfig,
    *,
    request: Request,
    planned: Sequence[TrialTask],
    ledger: StudyLedger,
    progress: Progress,
) -> None:
    prepared = prepare(
        run,
        data=config.data,
        views=config.views,
        teacher=config.teacher,
        recipe=config.recipe,
        is_recipe_fixed=config.space.recipe == FIXED_RECIPE,
        folds=config.picks.folds,
        seed=config.seed,
        execution=config.resources.execution,
        progress=progress,
        pool=make_shard_pool(run, config.data, config.resources, user_modules=config.user_modules),
    )
    if prepared.teacher.data_id != prepared.manifest.data_id:
        raise RunError(
            f"{run.path}: its teacher was measured on data {prepared.teacher.data_id} and data.json is of "
            f"{prepared.manifest.data_id}; restore the data that were searched on, or search anew"
        )
    labels = open_split(config.data, run.path, "train").labels
    if request.folds:
        check_k_folds(labels, request.folds)
    _check_release(planned, labels, request.folds)
    if not request.folds:
        _open_test(run, config, prepared, progress)
    left = len(unended(run, planned))
    students = len({one.number for one in planned})
    progress.event(
        _TASK,
        f"confirming {students} student{'s' if students > 1 else ''} with and without the teacher: {len(planned)} "
        f"trainings{'' if left == len(planned) else f', {len(planned) - left} of them ended before'}",
    )
    assistance = Assistance(
        run,
        config,
        ledger,
        equip=lambda: plan_workers(
            run,
            prepared,
            data=config.data,
            space=config.space,
            recipe=config.recipe,
            resources=config.resources,
            seed=config.seed,
            user_modules=config.user_modules,
            progress=progress,
        ),
        make_pool=lambda assistant: make_shard_pool(
            run, config.data, config.resources, user_modules=config.user_modules, assistant=assistant
        ),
        progress=progress,
    )
    workers = assistance.equip_all()
    train_repeats(
        planned,
        purpose=Purpose(task=_TASK, field="confirm", way_on="the same command", name=_name),
        worker_config=workers.config,
        resources=workers.resources,
        space_name=config.space.name,
        progress=progress,
    )


def _check_release(planned: Sequence[TrialTask], labels: Tensor, folds: int) -> None:
    """Checks that every training that is to release classes could release one.

    Raises:
        ConfigError: One could not: each would fail by itself, and its failure stay in the run.
    """
    for arm, way_out in (("released", "leave --release out"), ("distilled", "confirm it by --seeds")):
        own = [one.recipe.adaptive for one in planned if one.confirmation and one.confirmation.arm == arm]
        for share in {adaptive.release_holdout for adaptive in own if adaptive.release}:
            check_holdouts(labels, share, folds, fix=way_out)


def _check_teacher(run: RunDirectory) -> None:
    """Checks that the run's teacher is the one that its trials were distilled from.

    Raises:
        RunError: It is not.
    """
    studied, kept = read_study(run).teacher, run.read_teacher()
    if studied.weights_sha256 != kept.weights_sha256:
        raise RunError(
            f"{run.teacher}: is another teacher than the one that the trials were distilled from; restore it, or "
            "search anew"
        )


def _open_test(run: RunDirectory, config: SearchConfig, prepared: Prepared, progress: Progress) -> None:
    """Decodes the test images and asks the teacher about them, where that was not done before.

    Raises:
        DataError: There are none, or they cannot be read.
        RunError: The data have changed, or the file system refuses.
    """
    manifest = prepared.manifest
    if manifest.num_test == 0:
        raise DataError(f"{manifest.source}: has no test images; confirm by --folds, on the training images")
    progress.event(_TASK, f"the test split is opened: {manifest.num_test:,} images")
    cache_test_images(config.data, run.path, progress)
    test = open_split(config.data, run.path, "test")
    teacher = load_teacher(f"{LOCAL_DIR}{run.teacher}", class_names=manifest.class_names, channels=manifest.channels)
    store_test_logits(run.confirm, teacher, test, driver_device())
    if not run.tested_teacher.exists():
        trained_on = prepared.teacher.trained_on_data_id
        record = measure_teacher(teacher.to(driver_device()), test, trained_on_data_id=trained_on)
        write_record(run.tested_teacher, record.model_copy(update={"lineage": prepared.teacher.lineage}))


def _name(task: TrialTask) -> str:
    assert task.confirmation is not None
    confirmation, fold = task.confirmation, task.fold
    part = f"seed {confirmation.repetition + 1}" if fold is None else f"fold {fold.number + 1} of {fold.of}"
    return f"trial {task.number}, {part}, {confirmation.arm}"
