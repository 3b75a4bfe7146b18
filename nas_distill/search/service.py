"""A search from beginning to end: prepares the run directory, searches, and goes on after an interruption."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import torch

import nas_distill.models  # noqa: F401 - registers this project's entrypoints with timm
from nas_distill.callbacks import Progress
from nas_distill.config import SearchConfig
from nas_distill.config.loading import dump_config, load_config
from nas_distill.data.manifest import DataManifest
from nas_distill.errors import ClusterError, ConfigError, NasDistillError, RunError, StudyError
from nas_distill.run_directory.config import read_run_config
from nas_distill.run_directory.files import read_record, write_text
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.actor_pool import unended
from nas_distill.search.backend.cluster import ray_cluster
from nas_distill.search.proposal.initial_points import plan_initial_points
from nas_distill.search.retrain.assistant_plan import lessons_are_left
from nas_distill.search.retrain.fold_plan import plan_folds
from nas_distill.search.session import SearchOutcome, note_search, search_session
from nas_distill.search.setup.no_effect import check_settings
from nas_distill.search.setup.prepare import Prepared, prepare
from nas_distill.search.setup.validate import check_inputs, check_search
from nas_distill.search.setup.workers import shard_pool
from nas_distill.search.study.opening import opened_ledger

_UNUSED = frozenset({"lock", "study.db"})
"""What lies in a run directory before anything is computed."""


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
    _check_path(run)
    config = _with_study_name(config.anchored(Path.cwd()), run)
    check_settings(config)
    check_search(config)
    points = plan_initial_points(config)
    check_inputs(config)
    with _made_for_use(run):
        if run.config.exists():
            raise RunError(f"{folder}: holds a run already; go on with --resume {folder}, or choose another --out")
        with opened_ledger(run, config) as ledger:
            if ledger.num_trials:
                raise StudyError(
                    f"{run.path}: the storage holds {ledger.num_trials} trials of a study of this name, whose run "
                    "directory lacks its config.yaml; restore it, or choose another --out"
                )
            ledger.set_initial_points(points)
            write_text(run.config, dump_config(config))
            prepared = None
            try:
                with ray_cluster(config.resources):
                    found = _prepare(run, config, progress)
                    plan_initial_points(config, images_per_class=found.manifest.images_per_class)
                    prepared = found
                    return search_session(run, config, prepared, ledger, progress)
            except NasDistillError as error:
                cut_short = run.teacher.exists() and isinstance(error, RunError | ClusterError)
                if prepared is None and not cut_short:
                    # It is the command that is wrong, and nothing was searched yet: the same --out takes the corrected
                    # one. The data stay, they are checked against it; a teacher is not. (What a full disk or dying
                    # workers cut short after that goes on with --resume.)
                    run.config.unlink()
                    shutil.rmtree(run.teacher, ignore_errors=True)
                    with suppress(StudyError):  # what went wrong before is what the user is told
                        ledger.withdraw()
                raise
            except KeyboardInterrupt:
                return SearchOutcome(run=run, interrupted=True, new_trials=0)


def resume_search(
    folder: Path,
    progress: Progress,
    *,
    trials: int | None = None,
    assistants: int | None = None,
    folds: int | None = None,
    changes: Mapping[str, object] | None = None,
    resources: Mapping[str, object] | None = None,
    flag_names: Mapping[str, str] | None = None,
) -> SearchOutcome:
    """Goes on with a run: finished trials stay, those in flight go on from their checkpoints.

    Args:
        folder: The run directory.
        progress: Told of everything.
        trials: New number of trials in all, to extend a finished run; those that assistants teach do not count.
        assistants: Have so many assistants teach (`assistants.count`); those that were chosen before stay.
        folds: Score the picks on so many folds (`picks.folds`) from now on; 0 for none.
        changes: Dotted keys to values that the run's configuration has from now on: other budgets, another sampler.
        resources: `resources.NAME` -> value, instead of the run's own, in this session alone.
        flag_names: Dotted key -> what users call it, for errors.

    Raises:
        NasDistillError: One of its kinds, see `errors`; nothing computed is lost.
    """
    run = RunDirectory(folder.resolve()).existing()
    with run.locked():
        config = read_run_config(run)
        asked = {"budget.trials": trials, "assistants.count": assistants, "picks.folds": folds, **(changes or {})}
        kept = {key: value for key, value in asked.items() if value is not None}
        extended = load_config(run.config, (), kept, flag_names=flag_names).anchored(Path.cwd()) if kept else config
        given = {**(resources or {}), **kept}
        session = load_config(run.config, (), given, flag_names=flag_names).anchored(Path.cwd())
        check_search(session)
        with opened_ledger(run, session) as ledger:
            if run.data_manifest.exists():  # before anything is computed for what may be another search
                note_search(ledger, session, read_record(run.data_manifest, DataManifest), progress)
            assigned = sum(one.assistant is None for one in ledger.assigned())
            most = session.budget.most_trials
            if most is not None and most < assigned:
                raise ConfigError(
                    f"budget.trials: {most} is fewer than the {assigned} trials that the run has already; --trials "
                    "counts them too"
                )
            left = most is None or most > assigned or bool(ledger.unfinished())
            left = left or lessons_are_left(run, session, ledger)
            left = left or bool(unended(run, plan_folds(run, session, ledger.assigned())))
            try:
                with ray_cluster(session.resources) if left else nullcontext():
                    prepared = _prepare(run, session, progress, control=not left)
                    if extended != config:
                        write_text(run.config, dump_config(extended))
                    return search_session(run, session, prepared, ledger, progress)
            except KeyboardInterrupt:
                return SearchOutcome(run=run, interrupted=True, new_trials=0)


def _check_path(run: RunDirectory) -> None:
    """Refuses what a database URL would take for its query.

    Raises:
        RunError: The path holds a question mark or a hash.
    """
    for character in "?#":
        if character in str(run.path):
            raise RunError(f"--out: {run.path} holds '{character}', which no database URL can; choose another folder")


@contextmanager
def _made_for_use(run: RunDirectory) -> Iterator[None]:
    """Holds the run directory, and removes one that it made where an error leaves nothing in it to go on with."""
    is_new = False
    with suppress(OSError):  # what is wrong with the path is said where the lock is taken
        is_new = not run.path.exists()
    with run.locked():
        try:
            yield
        except NasDistillError:
            with suppress(OSError):  # what went wrong before is what the user is told
                if is_new and {path.name for path in run.path.iterdir()} <= _UNUSED:
                    shutil.rmtree(run.path)
            raise


def _with_study_name(config: SearchConfig, run: RunDirectory) -> SearchConfig:
    """Names the study in a shared database as no other run's, unless the user named it."""
    resources = config.resources
    if resources.storage is None or "study_name" in resources.model_fields_set:
        return config
    name = f"{run.path.name}-{uuid.uuid4().hex[:8]}"
    return config.model_copy(update={"resources": resources.model_copy(update={"study_name": name})})


def _prepare(run: RunDirectory, config: SearchConfig, progress: Progress, *, control: bool = False) -> Prepared:
    """Prepares, with the connected cluster's help unless `alone`."""
    prepared = prepare(run, config, progress, None if control else shard_pool(run, config))
    torch.cuda.empty_cache()  # what the driver's allocator keeps, trials on the same GPU would lack
    return prepared
