"""Confirm picked students: repeated trainings, with and without the teacher, scored on images unused so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

import nas_distill.models  # noqa: F401 - registers this project's entrypoints with timm
from nas_distill.analysis.assistants.choice import read_plan
from nas_distill.analysis.trials.study_reader import read_study
from nas_distill.callbacks import Progress
from nas_distill.config import FIXED_RECIPE, LOCAL_DIR, DataConfig, SearchConfig
from nas_distill.config.loading import load_config
from nas_distill.data.prepare import cache_test_images
from nas_distill.data.splits import open_split
from nas_distill.data.stratified import check_k_folds
from nas_distill.errors import DataError, RunError
from nas_distill.knowledge.teacher_test_logits import store_test_logits
from nas_distill.models.teacher import load_teacher
from nas_distill.records import Recipe
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.config import read_run_config
from nas_distill.run_directory.files import write_record
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.cluster import ray_cluster
from nas_distill.search.backend.node_probe import check_nodes
from nas_distill.search.backend.shard_pool import RayShardPool
from nas_distill.search.backend.trainings import TrainingKind, train_tasks, unfinished_tasks
from nas_distill.search.backend.workers import WorkerSetup
from nas_distill.search.driver.budget import INTERRUPTED
from nas_distill.search.retrain.assistant_plan import planned_rounds
from nas_distill.search.retrain.assistants import with_assistant_outputs
from nas_distill.search.retrain.confirm_plan import Request, plan_confirmation, unreleased
from nas_distill.search.setup.assistant_outputs import store_assistant_outputs
from nas_distill.search.setup.knowledge import plan_knowledge
from nas_distill.search.setup.prepare import Prepared, check_holdouts, prepare
from nas_distill.search.setup.teacher_training import driver_device
from nas_distill.search.setup.workers import plan_workers
from nas_distill.search.study.ledger import StudyLedger
from nas_distill.search.study.opening import opened_ledger
from nas_distill.train.teacher import measure_teacher

_TASK = "confirm"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmOutcome:
    """How a call ended.

    Attributes:
        run: The run directory.
        interrupted: Whether Ctrl-C or SIGTERM ended it early; the same call continues.
        planned: Number of trainings that the request takes.
        new: Number of those that finished in this call.
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
    """Retrain picked students of a finished search with and without the teacher. Results that exist are kept.

    Without folds, students are scored on the test split, which nothing else uses.

    Args:
        folder: The run directory.
        request: Which students are confirmed, and how.
        progress: Watcher of the work.
        resources: `resources.NAME` -> value, replacing the run's own values for these trainings.
        flag_names: Dotted key -> name of the command line flag, for errors.

    Raises:
        RunError: There is no run, another process holds it, or its data or teacher are not those of its trials.
        NasDistillError: Another of its kinds, see `errors`; finished trainings are kept.
    """
    run = RunDirectory(folder.resolve()).existing()
    with run.locked():
        config = read_run_config(run)
        if resources:
            config = load_config(run.config, (), resources, flag_names=flag_names)
        with opened_ledger(
            run, config.resources, config.objectives, seed=config.seed, sampler=config.sampler
        ) as ledger:
            planned = plan_confirmation(run, config.picks, ledger.assigned(), request)
            for line in unreleased(planned) if request.release else ():
                progress.event(_TASK, line)
            _check_teacher(run)
            left = len(unfinished_tasks(run, planned))
            try:
                if left:
                    with ray_cluster(config.resources, progress):
                        _report_plan(run, planned, progress)
                        train_tasks(
                            planned,
                            kind=TrainingKind(task=_TASK, field="confirm", resume="the same command", name=_name),
                            setup=_prepare(run, config, planned, folds=request.folds, ledger=ledger, progress=progress),
                            progress=progress,
                        )
            except KeyboardInterrupt:
                run.log_event(INTERRUPTED)
                finished = left - len(unfinished_tasks(run, planned))
                return ConfirmOutcome(run=run, interrupted=True, planned=len(planned), new=finished)
    return ConfirmOutcome(run=run, interrupted=False, planned=len(planned), new=left)


def _prepare(
    run: RunDirectory,
    config: SearchConfig,
    planned: Sequence[TrialTask],
    *,
    folds: int,
    ledger: StudyLedger,
    progress: Progress,
) -> WorkerSetup:
    """Check data and teacher, open the test split unless there are folds, and return what workers get."""
    check_nodes(run.path, config.resources, config.user_modules, progress)
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
        pool=RayShardPool(run, config.data, config.resources, user_modules=config.user_modules),
    )
    if prepared.teacher.data_id != prepared.manifest.data_id:
        raise RunError(
            f"the teacher was measured on data {prepared.teacher.data_id} and data.json describes data "
            f"{prepared.manifest.data_id}; restore the data of the search, or search again",
            code="confirm.other_data",
            field=str(run.path),
        )
    labels = open_split(config.data, run.path, "train").labels
    if folds:
        check_k_folds(labels, folds)
    _check_release(planned, labels, folds)
    if not folds:
        _open_test(run, config.data, prepared, progress)
    return _plan_workers(run, config, prepared, ledger, progress)


def _plan_workers(
    run: RunDirectory, config: SearchConfig, prepared: Prepared, ledger: StudyLedger, progress: Progress
) -> WorkerSetup:
    """Return what workers get, the outputs of all assistants of the search included."""
    request = plan_knowledge(config.recipe, config.teacher, config.views)

    def store_outputs(assistant: int, recipes: Sequence[Recipe]) -> dict[str, str]:
        pool = RayShardPool(run, config.data, config.resources, user_modules=config.user_modules, assistant=assistant)
        return store_assistant_outputs(
            run, config.data, request, assistant=assistant, recipes=recipes, progress=progress, pool=pool
        )

    setup = plan_workers(
        run,
        prepared,
        data=config.data,
        space=config.space,
        user_modules=config.user_modules,
        recipe=config.recipe,
        resources=config.resources,
        seed=config.seed,
        progress=progress,
    )
    return with_assistant_outputs(setup, planned_rounds(read_plan(run), ledger), store_outputs)


def _report_plan(run: RunDirectory, planned: Sequence[TrialTask], progress: Progress) -> None:
    left = len(unfinished_tasks(run, planned))
    students = len({task.number for task in planned})
    fine_tuned = len({one.number for one in planned if one.confirmation and one.confirmation.arm == "random_weights"})
    from_random = f", {fine_tuned} of them also from random weights" if fine_tuned else ""
    progress.event(
        _TASK,
        f"confirming {students} student{'s' if students > 1 else ''} with and without the teacher{from_random}: "
        f"{len(planned)} trainings"
        f"{'' if left == len(planned) else f', {len(planned) - left} of them finished before'}",
    )


def _check_release(planned: Sequence[TrialTask], labels: Tensor, folds: int) -> None:
    """Check that every training with per-class release could release a class.

    Raises:
        ConfigError: One could not. Without this check, each would fail by itself and leave its failure in the run.
    """
    for arm, fix in (("released", "leave --release out"), ("distilled", "use --seeds instead")):
        own = [one.recipe.adaptive for one in planned if one.confirmation and one.confirmation.arm == arm]
        for share in {adaptive.release_holdout for adaptive in own if adaptive.release}:
            check_holdouts(labels, share, folds, fix=fix)


def _check_teacher(run: RunDirectory) -> None:
    """Check that the run's teacher is the one that its trials were distilled from.

    Raises:
        RunError: It is not.
    """
    studied, kept = read_study(run).teacher, run.read_teacher()
    if studied.weights_sha256 != kept.weights_sha256:
        raise RunError(
            "is another teacher than the one that the trials were distilled from; restore it, or search again",
            code="confirm.other_teacher",
            field=str(run.teacher),
        )


def _open_test(run: RunDirectory, data: DataConfig, prepared: Prepared, progress: Progress) -> None:
    """Decode the test images and store the teacher's outputs for them, unless that was done before.

    Raises:
        DataError: There are none, or they cannot be read.
        RunError: The data have changed, or the file system refuses.
    """
    manifest = prepared.manifest
    if manifest.num_test == 0:
        raise DataError(
            "has no test images; use --folds to confirm on the training images",
            code="confirm.no_test_images",
            field=manifest.source,
        )
    progress.event(_TASK, f"the test split is opened: {manifest.num_test:,} images")
    cache_test_images(data, run.path, progress)
    test = open_split(data, run.path, "test")
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
