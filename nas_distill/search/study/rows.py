"""The records of trials as a study's database holds them, each with its checksum verified."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from nas_distill.config import SearchConfig
from nas_distill.errors import NasDistillError, RunError, StudyError
from nas_distill.records import TeacherRecord, TrialResult, TrialTask
from nas_distill.records.base import parse_sealed
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.study.database import open_database
from nas_distill.search.study.log import RESULT, TASK


@dataclass(frozen=True, slots=True)
class StoredRows:
    """What can be read of a study's database.

    Attributes:
        problem: Why the database cannot be read as a whole, one line; None if it can.
        numbers: Numbers of all trials.
        tasks: Undamaged tasks by number.
        results: Undamaged results by number.
        damaged: Numbers of the trials whose task or result is damaged.
        teacher: Record of the teacher, if it is undamaged.
    """

    problem: str | None = None
    numbers: set[int] = field(default_factory=set)
    tasks: dict[int, TrialTask] = field(default_factory=dict)
    results: dict[int, TrialResult] = field(default_factory=dict)
    damaged: set[int] = field(default_factory=set)
    teacher: TeacherRecord | None = None


def read_rows(run: RunDirectory, config: SearchConfig) -> StoredRows:
    """Return the undamaged records in a run's database; nothing is created.

    Args:
        run: The run directory.
        config: Configuration of the run.
    """
    own = config.resources.storage is None
    if own and not (run.study_file.is_file() and run.study_file.stat().st_size):
        return StoredRows(problem="it is empty" if run.study_file.exists() else "it is missing")
    try:
        storage: Any = open_database(config.resources.storage_url or run.own_storage)
        try:
            study_id = storage.get_study_id_from_name(config.resources.study_name)
            assert StudyDirection.NOT_SET not in storage.get_study_directions(study_id)
            trials, attributes = storage.get_all_trials(study_id), storage.get_study_user_attrs(study_id)
        finally:
            storage.close()
    except KeyError:
        return StoredRows(problem=f"it holds no study called '{config.resources.study_name}'")
    except StudyError as error:
        if not own:
            raise
        return StoredRows(problem=str(error.args[0]).partition(";")[0])
    except (ValueError, TypeError, AssertionError) as error:
        return StoredRows(problem=f"it is damaged ({error})")
    return _rows(trials, attributes)


def _rows(trials: list[FrozenTrial], attributes: dict[str, Any]) -> StoredRows:
    rows = StoredRows(teacher=_teacher(attributes.get("teacher")))
    for trial in trials:
        rows.numbers.add(trial.number)
        origin = f"trial {trial.number}"
        try:
            if TASK in trial.user_attrs:
                rows.tasks[trial.number] = parse_sealed(TrialTask, trial.user_attrs[TASK], origin=origin)
            if RESULT in trial.user_attrs:
                rows.results[trial.number] = parse_sealed(TrialResult, trial.user_attrs[RESULT], origin=origin)
        except RunError as error:
            if error.code == "run.other_version":
                raise
            rows.damaged.add(trial.number)
    return rows


def _teacher(text: Any) -> TeacherRecord | None:
    try:
        return parse_sealed(TeacherRecord, str(text), origin="teacher")
    except NasDistillError:
        return None
