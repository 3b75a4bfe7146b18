"""Build a run's study again from the trial folders and the log of the study."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas_distill.config import SearchConfig
from nas_distill.errors import RunError, StudyError
from nas_distill.objectives import Objective, check_objectives
from nas_distill.records import TrialRecord, TrialStatus, TrialTask
from nas_distill.records.base import seal
from nas_distill.records.task import TRIAL_SCHEMA_VERSION
from nas_distill.run_directory.files import read_record
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.study.database import open_database
from nas_distill.search.study.log import RESULT, TASK, LoggedStudy, LoggedTrial, read_log
from nas_distill.search.study.memory_mirror import REPORTED
from nas_distill.search.study.reported_values import reported_values

_REJECTION = "rejection"
_LOST = "its record is damaged, and no copy of it is left"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """A study that was built again.

    Attributes:
        trials: Number of its trials.
        ended: Number of trials with a result.
        unfinished: Number of trials that `--resume` continues.
        rejected: Number of rejected candidates.
        without_parameters: Numbers of the trials whose line in the log is lost: they are in the report, and the sampler
            learns nothing from them.
        lost: Numbers of the trials of which nothing is left.
    """

    trials: int
    ended: int
    unfinished: int
    rejected: int
    without_parameters: tuple[int, ...]
    lost: tuple[int, ...]


def rebuild_study(run: RunDirectory, config: SearchConfig) -> Rebuilt:
    """Replace the run's study by one built from the run's own files; the old file stays as `study.db.old`.

    Args:
        run: The run directory, locked.
        config: Configuration of the run.

    Raises:
        RunError: A file cannot be read or written.
        StudyError: The storage cannot be used, or already holds a study of this name that is not in the run directory.
    """
    logged, objectives = read_log(run.study_log), check_objectives(config.objectives)
    count = max((*run.trial_numbers(), *logged.trials), default=-1) + 1
    trials = [_trial(run, number, logged, objectives, config.sampler.stopped_trial_value) for number in range(count)]
    if config.resources.storage_url is None:
        temporary = run.study_file.with_name("study.db.new")
        temporary.unlink(missing_ok=True)
        _write(f"{run.own_storage}.new", config, logged, trials)
        if run.study_file.exists():
            shutil.move(run.study_file, run.study_file.with_name("study.db.old"))
        temporary.replace(run.study_file)
    else:
        _write(config.resources.storage_url, config, logged, trials)
    return _summary(trials, logged)


def _trial(
    run: RunDirectory, number: int, logged: LoggedStudy, objectives: Sequence[Objective], stopped_trial_value: Any
) -> FrozenTrial:
    line = logged.trials.get(number) or LoggedTrial(number=number, state=TrialState.RUNNING.name)
    folder = run.trial(number)
    task: TrialTask | None = None
    record: TrialRecord | None = None
    with suppress(RunError):
        task = read_record(folder.task, TrialTask)
    with suppress(RunError):
        record = folder.read_record()
    if record is not None:
        line = line.model_copy(update={"ended": line.ended or _time_of(folder.result)})
        return _ended(line, record, objectives, stopped_trial_value)
    if task is not None:
        return line.frozen(TrialState.RUNNING, None, {TASK: seal(task)})
    # A rejected candidate, or a trial of which nothing is left: numbers have no gaps in a study.
    state = TrialState[line.state] if _REJECTION in line.user_attributes else TrialState.FAIL
    ended = line.model_copy(update={"ended": line.ended or line.started or datetime.now()})  # noqa: DTZ005 - Optuna's times are naive
    return ended.frozen(state, None, {} if _REJECTION in line.user_attributes else {_REJECTION: _LOST})


def _ended(
    line: LoggedTrial, record: TrialRecord, objectives: Sequence[Objective], stopped_trial_value: Any
) -> FrozenTrial:
    attributes: dict[str, Any] = {TASK: seal(record.task), RESULT: seal(record.result())}
    values = reported_values(record, objectives, stopped_trial_value)
    if record.status is TrialStatus.COMPLETE:
        return line.frozen(TrialState.COMPLETE, values, attributes)
    if values is not None and line.params:
        attributes[REPORTED] = list(values)
    return line.frozen(TrialState.FAIL, None, attributes)


def _time_of(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime)  # noqa: DTZ006 - Optuna's times are naive


def _write(url: str, config: SearchConfig, logged: LoggedStudy, trials: Sequence[FrozenTrial]) -> None:
    """Create the study in the database at `url`."""
    storage: Any = open_database(url)
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would print that it creates a study
    try:
        directions = [StudyDirection[one.direction.upper()] for one in check_objectives(config.objectives)]
        try:
            study_id = storage.create_new_study(directions, config.resources.study_name)
        except optuna.exceptions.DuplicatedStudyError:
            raise StudyError(
                f"the database already holds a study called '{config.resources.study_name}'; delete that study, or "
                "restore resources.study_name in config.yaml",
                code="study.not_replaced",
                field="resources.study_name",
            ) from None
        defaults: Mapping[str, Any] = {"schema_version": TRIAL_SCHEMA_VERSION, "objectives": list(config.objectives)}
        for key, value in {**defaults, **logged.attributes}.items():
            storage.set_study_user_attr(study_id, key, value)
        for trial in trials:
            storage.create_new_trial(study_id, template_trial=trial)
    finally:
        storage.close()


def _summary(trials: Sequence[FrozenTrial], logged: LoggedStudy) -> Rebuilt:
    with_task = [trial for trial in trials if TASK in trial.user_attrs]
    ended = [trial for trial in with_task if RESULT in trial.user_attrs]
    lost = tuple(trial.number for trial in trials if trial.user_attrs.get(_REJECTION) == _LOST)
    return Rebuilt(
        trials=len(trials),
        ended=len(ended),
        unfinished=len(with_task) - len(ended),
        rejected=len(trials) - len(with_task) - len(lost),
        without_parameters=tuple(trial.number for trial in with_task if trial.number not in logged.trials),
        lost=lost,
    )
