"""A search from beginning to end: prepares the run directory, searches, and goes on after an interruption."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nas_distill.models  # noqa: F401 - registers this project's entrypoints with timm
from nas_distill.config import LOCAL_DIR, SearchConfig, TeacherConfig
from nas_distill.config_io import dump_config, load_config, read_run_config
from nas_distill.data.manifest import DataManifest
from nas_distill.data.prepare import prepare_data
from nas_distill.data.splits import ImageSplit, open_split
from nas_distill.data.views import plan_views
from nas_distill.errors import NasDistillError, RunError
from nas_distill.knowledge.build import build_knowledge
from nas_distill.losses.registry import DistillationLoss
from nas_distill.models.teacher import Teacher, load_teacher, save_local_dir
from nas_distill.objectives import check_objectives
from nas_distill.progress import Progress
from nas_distill.records import TeacherRecord
from nas_distill.search.cluster import ray_cluster
from nas_distill.search.driver import SearchDriver
from nas_distill.search.proposer import InputShape, Proposer, make_limits
from nas_distill.search.spaces import Space, load_space
from nas_distill.search.study import StudyLedger
from nas_distill.search.teacher_job import driver_device
from nas_distill.search.tune import run_tune
from nas_distill.store import RunDirectory, write_record, write_text
from nas_distill.train.optimisation import check_optimizer
from nas_distill.train.teacher import fit_teacher, measure_teacher, read_provenance
from nas_distill.workplace import Workplace

DIGITS_TEACHER = TeacherConfig(model="small_resnet", arguments={"widths": (32, 64, 128), "depths": (2, 2, 2)})
"""Trained when `digits` is searched without a teacher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOutcome:
    """How a call of the service ended.

    Attributes:
        run: The run directory.
        interrupted: Ctrl-C or SIGTERM ended it early; `resume_search` goes on.
        new_trials: Trials that ended in this call.
    """

    run: RunDirectory
    interrupted: bool
    new_trials: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """What stands before the first trial."""

    manifest: DataManifest
    teacher: TeacherRecord
    knowledge_id: str


def start_search(config: SearchConfig, folder: Path, progress: Progress) -> SearchOutcome:
    """Begins a search in a new run directory and runs it to its end.

    Args:
        config: Everything that decides it.
        folder: The run directory; on a cluster, on a path that all nodes share.
        progress: Told of everything.

    Raises:
        NasDistillError: One of its kinds, see `errors`; nothing computed is lost.
    """
    run = RunDirectory(folder.resolve())
    with run.locked():
        if run.config.exists():
            raise RunError(f"{folder}: holds a run already; go on with --resume {folder}, or choose another --out")
        config = config.anchored(Path.cwd())
        space = _check(config)
        write_text(run.config, dump_config(config))
        try:
            prepared = _prepare(run, config, progress)
        except NasDistillError:
            # Nothing was searched yet: the same --out takes the corrected command, and finds the prepared data.
            run.config.unlink()
            raise
        except KeyboardInterrupt:
            return SearchOutcome(run=run, interrupted=True, new_trials=0)
        return _search(run, config, space, prepared, progress)


def resume_search(
    folder: Path,
    progress: Progress,
    *,
    trials: int | None = None,
    resources: Mapping[str, object] | None = None,
) -> SearchOutcome:
    """Goes on with a run: finished trials stay, those in flight go on from their checkpoints.

    Args:
        folder: The run directory.
        progress: Told of everything.
        trials: New number of trials in all, to extend a finished run.
        resources: `resources.NAME` -> value, instead of the run's own.

    Raises:
        NasDistillError: One of its kinds, see `errors`; nothing computed is lost.
    """
    run = RunDirectory(folder.resolve()).existing()
    with run.locked():
        changes: dict[str, object] = dict(resources or {})
        if trials is not None:
            changes["budget.trials"] = trials
        config = read_run_config(run)
        if changes:
            config = load_config(run.config, (), changes)
        space = _check(config)
        try:
            prepared = _prepare(run, config, progress)
        except KeyboardInterrupt:
            return SearchOutcome(run=run, interrupted=True, new_trials=0)
        if trials is not None:
            write_text(run.config, dump_config(config))
        return _search(run, config, space, prepared, progress)


def _check(config: SearchConfig) -> Space:
    """Finds out what can be found out before anything is computed; returns the space."""
    DistillationLoss(config.recipe)
    check_optimizer(config.recipe.optimizer)
    check_optimizer(config.teacher.recipe.optimizer)
    return load_space(config.space.name)


def _prepare(run: RunDirectory, config: SearchConfig, progress: Progress) -> _Prepared:
    """Makes data, teacher and knowledge, or finds them made."""
    manifest = prepare_data(config.data, run.path, progress)
    splits = open_split(config.data, run.path, "train"), open_split(config.data, run.path, "validation")
    teacher, record = _make_teacher(run, config, splits, progress)
    knowledge = build_knowledge(
        teacher,
        train=splits[0],
        validation=splits[1],
        plan=plan_views(config.views, manifest, epochs=config.recipe.epochs, online=config.teacher.online),
        online=config.teacher.online,
        root=run.knowledge,
        device=driver_device(),
        progress=progress,
    )
    return _Prepared(manifest=manifest, teacher=record, knowledge_id=knowledge.folder.name)


def _make_teacher(
    run: RunDirectory, config: SearchConfig, splits: tuple[ImageSplit, ImageSplit], progress: Progress
) -> tuple[Teacher, TeacherRecord]:
    """Returns the run's own copy of the teacher, made when it is missing."""
    manifest = splits[0].manifest
    settings = config.teacher
    if not run.teacher_record.exists():
        if settings.model is None:
            assert DIGITS_TEACHER.model is not None
            progress.event(
                "teacher", f"no teacher given: training {DIGITS_TEACHER.model} on {config.data.source} first"
            )
            fit_teacher(
                DIGITS_TEACHER.model,
                run.teacher,
                arguments=DIGITS_TEACHER.arguments,
                recipe=settings.recipe,
                splits=splits,
                views=config.views,
                seed=config.seed,
                device=driver_device(),
                progress=progress,
            )
        else:
            _adopt_teacher(run, settings, settings.model, splits[1], progress)
    teacher = load_teacher(f"{LOCAL_DIR}{run.teacher}", class_names=manifest.class_names, channels=manifest.channels)
    record = run.read_teacher()
    if record.weights_sha256 != teacher.weights_sha256():
        raise RunError(
            f"{run.teacher}: the weights are not those that metrics.json was measured on; restore them, or search in "
            "another --out"
        )
    return teacher, record


def _adopt_teacher(
    run: RunDirectory, settings: TeacherConfig, model: str, validation: ImageSplit, progress: Progress
) -> None:
    """Copies the user's teacher into the run and measures it on the run's validation split."""
    manifest = validation.manifest
    teacher = load_teacher(
        model,
        class_names=manifest.class_names,
        channels=manifest.channels,
        arguments=settings.arguments,
        checkpoint=settings.checkpoint,
        trust_pickle=settings.trust_pickle,
        image_size=settings.image_size,
    ).to(driver_device())
    provenance = read_provenance(Path(model.removeprefix(LOCAL_DIR)), teacher) if model.startswith(LOCAL_DIR) else None
    trained_on = provenance.trained_on_data_id if provenance is not None else None
    record = measure_teacher(
        teacher,
        validation,
        trained_on_data_id=trained_on,
        curve=provenance.curve if provenance is not None else (),
    )
    save_local_dir(
        teacher.network,
        run.teacher,
        arguments=teacher.arguments,
        class_names=manifest.class_names,
        channels=teacher.channels,
        image_size=teacher.image_size,
        mean=teacher.preprocess.mean,
        std=teacher.preprocess.std,
    )
    write_record(run.teacher_record, record)
    progress.event(
        "teacher",
        f"{record.architecture}: {100 * record.top1:.2f} % on validation, {record.cost.num_params:,} parameters",
    )
    if trained_on is not None and trained_on != manifest.data_id:
        progress.event(
            "warning",
            "the teacher was trained on other data or splits: it may have seen these validation images, which "
            "flatters it",
        )


def _search(
    run: RunDirectory, config: SearchConfig, space: Space, prepared: _Prepared, progress: Progress
) -> SearchOutcome:
    objectives = check_objectives(config.objectives)
    storage, study_name = run.study_location(config.resources.storage)
    ledger = StudyLedger(storage, study_name, objectives, config.seed)
    try:
        ledger.set_teacher(prepared.teacher)
        proposer = Proposer(
            ledger,
            space=space,
            limits=make_limits(config.space, prepared.teacher.cost),
            shape=InputShape(
                num_classes=prepared.manifest.num_classes,
                channels=prepared.manifest.channels,
                image_size=prepared.manifest.image_size,
            ),
            recipe=config.recipe,
            seed=config.seed,
            max_refusals=config.budget.max_refusals,
            known=ledger.assigned_specs(),
        )
        driver = SearchDriver(
            run, ledger, proposer, objectives=objectives, total=config.budget.trials, progress=progress
        )
        interrupted = _run_on_cluster(driver, run, config, prepared, progress)
    finally:
        ledger.close()
    if driver.failure is not None:
        raise driver.failure
    return SearchOutcome(run=run, interrupted=interrupted and driver.unfinished > 0, new_trials=driver.new_trials)


def _run_on_cluster(
    driver: SearchDriver, run: RunDirectory, config: SearchConfig, prepared: _Prepared, progress: Progress
) -> bool:
    """Returns whether the user ended it early."""
    if driver.remaining == 0:
        progress.event("search", "all trials have ended already; extend the run with --trials")
        return False
    resources = config.resources
    workplace = Workplace(
        run=str(run.path),
        data=config.data,
        knowledge_id=prepared.knowledge_id,
        threads=max(1, int(resources.cpus_per_trial)),
        cuda=resources.gpus_per_trial > 0,
    )
    run.log_event("search", trials=config.budget.trials, left=driver.remaining)
    progress.event("search", f"{driver.remaining} trials to run in {run.path}; starting Ray")
    try:
        with ray_cluster(resources):
            finished = run_tune(driver, workplace, resources, space_name=config.space.name)
    except KeyboardInterrupt:
        finished = False
    run.log_event("end", interrupted=not finished)
    return not finished
