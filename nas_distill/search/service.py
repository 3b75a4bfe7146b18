"""Starts and resumes a search in a run directory."""

from __future__ import annotations

import math
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

import nas_distill.models  # noqa: F401 - registers this project's entrypoints with timm
from nas_distill.callbacks import Progress
from nas_distill.config import FIXED_RECIPE, FOLDER, LOCAL_DIR, SearchConfig
from nas_distill.config.loading import dump_config, load_config
from nas_distill.data.manifest import DataManifest
from nas_distill.errors import ClusterError, ConfigError, NasDistillError, RunError, StudyError
from nas_distill.objectives import check_objectives
from nas_distill.records import SpaceContext
from nas_distill.run_directory.config import read_run_config
from nas_distill.run_directory.files import read_record, write_text
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.cluster import ray_cluster
from nas_distill.search.backend.trainings import unfinished_tasks
from nas_distill.search.driver.budget import INTERRUPTED
from nas_distill.search.early_stopping.curves import make_early_stopper
from nas_distill.search.preparation import prepare_search
from nas_distill.search.proposal.initial_points import Point, plan_initial_points
from nas_distill.search.retrain.assistant_plan import has_unfinished_rounds
from nas_distill.search.retrain.fold_plan import plan_folds
from nas_distill.search.session import SearchOutcome, record_fingerprint, search_session
from nas_distill.search.setup.initial_weights import check_initial_weights, choose_initial_weights
from nas_distill.search.setup.prepare import Prepared
from nas_distill.search.setup.space_context import check_space, expect_space, setup_space
from nas_distill.search.setup.target import check_target
from nas_distill.search.setup.validate import check_assistants, check_folds, check_inputs, check_losses
from nas_distill.search.spaces.loading import load_space
from nas_distill.search.spaces.recipes import load_recipe_space, make_choices
from nas_distill.search.study.ledger import StudyLedger
from nas_distill.search.study.opening import opened_ledger
from nas_distill.search.study.retry import reopen_failed
from nas_distill.search.unused_settings import check_unused_settings
from nas_distill.train.optimisation import check_optimizer
from nas_distill.user_code import import_modules

_EMPTY_RUN = frozenset({"lock", "lock.holder", "study.db", "trials"})
"""Files in a run directory before anything is computed."""


def start_search(config: SearchConfig, folder: Path, progress: Progress) -> SearchOutcome:
    """Start a search in a new run directory and run it to its end.

    Args:
        config: Configuration of the search.
        folder: The run directory; on a cluster, a path that all nodes share.
        progress: Receives events.

    Raises:
        NasDistillError: The configuration or its inputs are wrong, or the search cannot continue. All results so far
            are kept.
    """
    run = RunDirectory(folder.resolve())
    _check_path(run)
    config = _name_study(config.with_absolute_paths(Path.cwd()).with_space_name(), run)
    _check_inputs_outside(run, config)
    check_unused_settings(config)
    _check_config(config)
    check_inputs(config.data, config.teacher)
    expected = expect_space(config.data, config.teacher, config.space)
    check_space(load_space(config.space.resolved_name), expected.context)
    # The number of images per class is not known yet.
    points = _plan_points(config, expected.context, math.inf, 0.0)
    with _locked_new_run(run), _opened_ledger(run, config) as ledger, ExitStack() as cluster:
        _check_empty(ledger)
        ledger.set_initial_points(points)
        write_text(run.config, dump_config(config))
        try:
            cluster.enter_context(ray_cluster(config.resources, progress))
            prepared = prepare_search(run, config, progress)
            demands = setup_space(run, config.space, prepared.manifest.network_shape)
            check_space(load_space(config.space.resolved_name), demands.context)
            _plan_points(config, demands.context, prepared.manifest.images_per_class)
        except NasDistillError as error:
            _discard_start(run, ledger, error)
            raise
        except KeyboardInterrupt:
            return _interrupted(run)
        return _search(run, config, prepared, ledger, progress)


def resume_search(
    folder: Path,
    progress: Progress,
    *,
    trials: int | None = None,
    assistants: int | None = None,
    folds: int | None = None,
    retry_failed: bool = False,
    changes: Mapping[str, object] | None = None,
    resources: Mapping[str, object] | None = None,
    flag_names: Mapping[str, str] | None = None,
) -> SearchOutcome:
    """Continue or extend a search. Finished trials are kept, and unfinished ones continue from their checkpoints.

    Args:
        folder: The run directory.
        progress: Receives events.
        trials: New total number of trials (`budget.trials`), without those of assistants.
        assistants: New number of assistants (`assistants.count`); those already chosen are kept.
        folds: New number of folds for the picks (`picks.folds`), 0 for none.
        retry_failed: Whether failed trials are trained again.
        changes: Dotted keys and values to change in the run's configuration from now on, such as budgets or the
            sampler.
        resources: Dotted keys `resources.NAME` and values for this session only.
        flag_names: Flag of each dotted key, for errors.

    Raises:
        NasDistillError: The run directory or a change is wrong, or the search cannot continue. All results so far are
            kept.
    """
    run = RunDirectory(folder.resolve()).existing()
    with run.locked():
        stored = read_run_config(run)
        named = {"budget.trials": trials, "assistants.count": assistants, "picks.folds": folds, **(changes or {})}
        kept = {key: value for key, value in named.items() if value is not None}
        extended = _change_config(run, kept, flag_names) if kept else stored
        session = _change_config(run, {**(resources or {}), **kept}, flag_names)
        _check_config(session)
        if retry_failed:
            reopened = reopen_failed(run, session)
            progress.event("retry", f"{len(reopened)} failed trials are trained again")
        with _opened_ledger(run, session) as ledger:
            if run.data_manifest.exists():  # checked first, before anything is computed for another search
                record_fingerprint(ledger, session, read_record(run.data_manifest, DataManifest), progress)
            has_work = _has_work(run, session, ledger)
            try:
                with ray_cluster(session.resources, progress) if has_work else nullcontext():
                    prepared = prepare_search(run, session, progress, on_cluster=has_work)
                    if extended != stored:
                        write_text(run.config, dump_config(extended))
                    return search_session(run, session, prepared, ledger, progress)
            except KeyboardInterrupt:
                return _interrupted(run)


def _check_path(run: RunDirectory) -> None:
    """Check that the path of the run directory can be part of a database URL."""
    for character in "?#":
        if character in str(run.path):
            raise RunError(
                f"{run.path} contains '{character}', which a database URL cannot contain; choose another folder",
                code="search.path_not_allowed",
                field="--out",
            )


def _check_inputs_outside(run: RunDirectory, config: SearchConfig) -> None:
    """Check that the run directory is not inside the folder of the images or of the teacher, which it would change."""
    for name, text, prefix in (
        ("data.source", config.data.source, FOLDER),
        ("teacher.model", config.teacher.model or "", LOCAL_DIR),
    ):
        if text.startswith(prefix) and run.path.is_relative_to(Path(text.removeprefix(prefix)).resolve()):
            raise RunError(
                f"{run.path} is inside {text.removeprefix(prefix)} ({name}), and a search must not change its inputs; "
                "choose another folder",
                code="search.out_inside_input",
                field="--out",
            )


def _name_study(config: SearchConfig, run: RunDirectory) -> SearchConfig:
    """Give the study a unique name in a shared database, unless the user named it."""
    resources = config.resources
    if resources.storage is None or "study_name" in resources.model_fields_set:
        return config
    name = f"{run.path.name}-{uuid.uuid4().hex[:8]}"
    return config.model_copy(update={"resources": resources.model_copy(update={"study_name": name})})


def _check_config(config: SearchConfig) -> None:
    """Check what can be checked of a configuration before anything is computed.

    Raises:
        NasDistillError: A search with this configuration would fail.
    """
    import_modules(config.plugins)
    load_space(config.space.resolved_name)
    check_initial_weights(config.space)
    load_recipe_space(config.space.recipe)  # its file may register losses that `recipe` names
    fixed = config.space.recipe == FIXED_RECIPE
    check_losses(config.recipe, config.teacher)
    check_assistants(config.assistants.count, config.recipe, is_recipe_fixed=fixed)
    check_folds(config.picks.folds, config.recipe, config.views.mixes, is_recipe_fixed=fixed)
    make_early_stopper(config.asha, epochs=config.recipe.epochs, objectives=check_objectives(config.objectives))
    check_target(config.target, config.space, config.objectives)
    check_optimizer(config.recipe.optimizer)
    check_optimizer(config.teacher.recipe.optimizer)


def _plan_points(config: SearchConfig, context: SpaceContext, *images_per_class: float) -> tuple[Point, ...]:
    """Return the initial points, each of which must be valid for one of these numbers of images per class."""
    choices = [
        make_choices(
            config.recipe,
            config.teacher,
            mixes=config.views.mixes,
            folds=config.picks.folds,
            images_per_class=count,
        )
        for count in images_per_class
    ]
    initial_weights = choose_initial_weights(config.space, context)
    return plan_initial_points(config.space, config.recipe, choices, context, initial_weights)


@contextmanager
def _locked_new_run(run: RunDirectory) -> Iterator[None]:
    """Lock a new run directory. After an error, remove it if it was created here and nothing was computed."""
    is_new = False
    with suppress(OSError):  # locking reports what is wrong with the path
        is_new = not run.path.exists()
    with run.locked():
        try:
            if run.config.exists():
                raise RunError(
                    f"already holds a run; continue it with --resume {run.path}, or choose another --out",
                    code="search.run_exists",
                    field=str(run.path),
                )
            yield
        except NasDistillError:
            with suppress(OSError):  # the user is told the first error
                if is_new and {path.name for path in run.path.iterdir()} <= _EMPTY_RUN:
                    shutil.rmtree(run.path)
            raise


def _check_empty(ledger: StudyLedger) -> None:
    if ledger.num_trials:
        raise StudyError(
            f"the storage already holds {ledger.num_trials} trials of a study of this name, and the run directory has "
            "no config.yaml; restore it, or choose another --out",
            code="search.study_exists",
            field="resources.study_name",
        )


def _discard_start(run: RunDirectory, ledger: StudyLedger, error: NasDistillError) -> None:
    """Remove what would keep a corrected command from starting in the same run directory.

    Prepared data are checked against the configuration, so they can stay; a teacher is not. A run whose teacher exists
    and that a full disk or dying workers cut short is kept, because --resume continues it.
    """
    if run.teacher.exists() and isinstance(error, RunError | ClusterError):
        return
    run.config.unlink()
    shutil.rmtree(run.teacher, ignore_errors=True)
    with suppress(StudyError):  # the user is told the first error
        ledger.withdraw()


def _search(
    run: RunDirectory, config: SearchConfig, prepared: Prepared, ledger: StudyLedger, progress: Progress
) -> SearchOutcome:
    try:
        return search_session(run, config, prepared, ledger, progress)
    except KeyboardInterrupt:
        return _interrupted(run)


def _interrupted(run: RunDirectory) -> SearchOutcome:
    run.log_event(INTERRUPTED)
    return SearchOutcome(run=run, interrupted=True, new_trials=0)


def _change_config(
    run: RunDirectory, changes: Mapping[str, object], flag_names: Mapping[str, str] | None
) -> SearchConfig:
    changed = load_config(run.config, (), changes, flag_names=flag_names)
    return changed.with_absolute_paths(Path.cwd()).with_space_name()


def _opened_ledger(run: RunDirectory, config: SearchConfig) -> AbstractContextManager[StudyLedger]:
    return opened_ledger(run, config.resources, config.objectives, seed=config.seed, sampler=config.sampler)


def _has_work(run: RunDirectory, config: SearchConfig, ledger: StudyLedger) -> bool:
    """Return whether trials, students of assistants or folds are left to train.

    Raises:
        ConfigError: The run already has more trials than the configuration allows.
    """
    assigned = sum(one.assistant is None for one in ledger.assigned())
    most = config.budget.most_trials
    if most is not None and most < assigned:
        raise ConfigError(
            f"{most} is fewer than the {assigned} trials that the run already has; --trials is the total number",
            code="search.fewer_trials_than_run",
            field="budget.trials",
        )
    if most is None or most > assigned or ledger.unfinished():
        return True
    if has_unfinished_rounds(run, ledger, config.assistants, config.picks):
        return True
    return bool(unfinished_tasks(run, plan_folds(run, config.picks, ledger.assigned())))
