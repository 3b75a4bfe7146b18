"""The Optuna study as a pandas table. The only module that reads a study without searching in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from pydantic_core import from_json
from sqlalchemy import and_, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from nas_distill.analysis.trials.columns import COLUMNS, CURVE_VALUES, read_row, spec_of
from nas_distill.errors import RunError, StudyError
from nas_distill.objectives import Objective, check_objectives
from nas_distill.optuna_private import TrialModel, TrialUserAttributeModel, study_id_of
from nas_distill.records import TeacherRecord
from nas_distill.records.base import other_version, parse_sealed, seal
from nas_distill.records.export import Int8Record
from nas_distill.records.task import TRIAL_SCHEMA_VERSION
from nas_distill.run_directory.config import read_run_config
from nas_distill.run_directory.files import read_record, reading
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.results import incomplete_study

__all__ = ["COLUMNS", "CURVE_VALUES", "Rejection", "StudySnapshot", "load_frame", "read_parameters", "read_study"]

_DATABASE_ERRORS = (
    SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError, ImportError, LookupError, ValueError, TypeError,
)  # fmt: skip
"""What Optuna and SQLAlchemy raise for a database that is unreachable or damaged."""

_ROWS_AT_A_TIME = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A candidate that was rejected before training.

    Attributes:
        number: Number of the trial.
        candidate: Architecture of the candidate; empty when the space returned none.
        reason: Why it was rejected, one line.
    """

    number: int
    candidate: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedTrial:
    """An ended trial whose record is damaged both in the study and in the run directory. It is in no table.

    Attributes:
        number: Number of the trial.
        reason: What is wrong with the record, one line.
    """

    number: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySnapshot:
    """A study at the time when it was read.

    Attributes:
        trials: Table of trials: one row per ended trial, sorted by number; columns as in `COLUMNS`.
        curves: Table of curves: one row per trained epoch, sorted by number and epoch; columns int64 `number` and
            `epoch`, float64 `CURVE_VALUES`.
        objectives: Objectives, in the order of the study's values.
        teacher: The teacher.
        rejections: Candidates that were rejected before training, sorted by number.
        running: Number of running trials.
        damaged: Ended trials that cannot be read, sorted by number.
    """

    trials: pd.DataFrame
    curves: pd.DataFrame
    objectives: tuple[Objective, ...]
    teacher: TeacherRecord
    rejections: tuple[Rejection, ...]
    running: int
    damaged: tuple[DamagedTrial, ...] = ()


def load_frame(run: RunDirectory) -> pd.DataFrame:
    """Return the table of trials: one row per ended trial, sorted by number; columns as in `COLUMNS`.

    Raises:
        RunError: There is no run, another version wrote it, or its configuration or teacher cannot be read.
        StudyError: The study is missing, unreachable or damaged.
    """
    return read_study(run).trials


def read_study(run: RunDirectory) -> StudySnapshot:
    """Return the run's study: trials, rejections, objectives and teacher.

    Raises:
        RunError: There is no run, another version wrote it, or its configuration or teacher cannot be read.
        StudyError: The study is missing, unreachable or damaged, or lacks trials that the run directory holds.
    """
    config = read_run_config(run.existing())
    url, name = config.resources.storage_url or run.own_storage, config.resources.study_name
    origin = _public(url)
    rows: list[dict[str, Any]] = []
    curves, rejections, damaged, running = [], [], [], 0
    missing = run.trial_numbers()
    with _opened(url, name) as (study, storage):
        attributes = study.user_attrs
        version = attributes.get("schema_version")
        if version != TRIAL_SCHEMA_VERSION:
            raise other_version(f"{origin}: study '{name}'", version, TRIAL_SCHEMA_VERSION)
        for trial in _trials(study, storage):
            where = f"{origin}: trial {trial.number}"
            missing.discard(trial.number)
            if trial.state is TrialState.RUNNING:
                running += 1
            elif not trial.state.is_finished():
                continue
            elif "rejection" in trial.attributes:
                rejections.append(_rejection(trial))
            else:
                # One trial at a time: all trials of a long study take gigabytes.
                found = _read_or_heal(run, trial, where)
                if isinstance(found, DamagedTrial):
                    damaged.append(found)
                    continue
                int8 = _int8_columns(run, trial.number)
                rows.append({"number": trial.number, **found[0], **int8, "completed_at": trial.completed_at})
                curves.append(found[1])
    if missing:
        raise incomplete_study(run, missing, origin)
    teacher = attributes.get("teacher")
    return StudySnapshot(
        trials=_table(rows),
        curves=_table_of_curves(curves),
        objectives=check_objectives(attributes.get("objectives") or config.objectives),
        teacher=_read_teacher(run, teacher),
        rejections=tuple(sorted(rejections, key=lambda rejection: rejection.number)),
        running=running,
        damaged=tuple(sorted(damaged, key=lambda trial: trial.number)),
    )


def _read_or_heal(
    run: RunDirectory, trial: _Trial, where: str
) -> tuple[dict[str, Any], NDArray[np.float64]] | DamagedTrial:
    """Return the trial's rows of both tables, from the run directory where the study's record is damaged."""
    try:
        return read_row(trial.number, trial.attributes, where)
    except (RunError, StudyError) as error:
        if error.code == "run.other_version":
            raise
        problem = error
    try:
        record = run.trial(trial.number).read_record()
    except RunError:
        record = None
    if record is None:
        return DamagedTrial(number=trial.number, reason=str(problem.args[0]))
    return read_row(trial.number, {"task": seal(record.task), "result": seal(record.result())}, where)


def _int8_columns(run: RunDirectory, number: int) -> dict[str, float]:
    """Return what `nas_distill quantise` measured; empty if it did not."""
    path = run.int8(number)
    if not path.exists():
        return {}
    record = read_record(path, Int8Record)
    return {
        "int8_gap_points": record.gap_points,
        "int8_top1": record.scores.top1,
        "int8_ece": record.scores.ece,
        "int8_size_bytes": float(record.size_bytes),
        "int8_latency_ms": record.latency.median_ms,
    }


def _read_teacher(run: RunDirectory, stored: str | None) -> TeacherRecord:
    """Return the study's record of the teacher, or the one in the run directory where that is missing or damaged."""
    try:
        return parse_sealed(TeacherRecord, stored or "", origin="the study's teacher")
    except RunError:
        return run.read_teacher()


def read_parameters(run: RunDirectory) -> dict[int, dict[str, Any]]:
    """Return the parameters that each trial suggested to the space: values by name, by number of the trial.

    Raises:
        RunError: There is no run, or its configuration cannot be read.
        StudyError: The study is missing, unreachable or damaged.
    """
    config = read_run_config(run.existing())
    with _opened(config.resources.storage_url or run.own_storage, config.resources.study_name) as (study, _):
        return {trial.number: dict(trial.params) for trial in study.get_trials(deepcopy=False)}


@dataclass(frozen=True, slots=True)
class _Trial:
    """A trial as it is read: those of the attributes `_READ` that it has, and the time of its end in the study."""

    number: int
    state: TrialState
    completed_at: datetime | None
    attributes: Mapping[str, Any]


_READ = ("task", "result", "spec", "cost", "rejection")


def _trials(study: optuna.Study, storage: RDBStorage) -> Iterator[_Trial]:
    """Yield the study's trials in the order of the database, with one query.

    `Study.get_trials` also builds every parameter, its distribution and all other attributes, which takes most of the
    time of reading a long study. A test compares the two.
    """
    trial, attribute = TrialModel.__table__.c, TrialUserAttributeModel.__table__.c
    query = (
        select(trial.trial_id, trial.number, trial.state, trial.datetime_complete, attribute.key, attribute.value_json)
        .outerjoin_from(
            TrialModel.__table__,
            TrialUserAttributeModel.__table__,
            and_(attribute.trial_id == trial.trial_id, attribute.key.in_(_READ)),
        )
        .where(trial.study_id == study_id_of(study))
        .order_by(trial.trial_id)
    )
    with storage.engine.connect() as connection:
        found = connection.execution_options(yield_per=_ROWS_AT_A_TIME).execute(query)
        for _, lines in groupby(found, key=itemgetter(0)):
            (_, number, state, completed, *_), *_ = own = list(lines)
            yield _Trial(
                number=number,
                state=state,
                completed_at=completed and completed.replace(tzinfo=UTC),  # Optuna stores naive UTC times
                attributes={key: from_json(value) for *_, key, value in own if key is not None},
            )


@contextmanager
def _opened(url: str, name: str) -> Iterator[tuple[optuna.Study, RDBStorage]]:
    """Open the study `name` at `url` and its storage without creating anything; close the connection at the end."""
    public = _public(url)
    parsed = make_url(url)
    with reading(public):
        missing = parsed.drivername.startswith("sqlite") and not Path(parsed.database or "").is_file()
    if missing:
        raise StudyError(
            "holds no study; give a run whose search has started, or rebuild it with `nas_distill repair RUN`",
            code="study.missing",
            field=public,
        )
    try:
        storage = RDBStorage(url, skip_table_creation=True)
        try:
            yield _study(name, storage, public), storage
        finally:
            storage.remove_session()
            storage.engine.dispose()
    except _DATABASE_ERRORS as error:
        cause = str(error.__cause__ or error).splitlines()[0]
        raise StudyError(
            f"cannot be read: {cause}; rebuild it with `nas_distill repair RUN`, or check resources.storage",
            code="study.storage_failed",
            field=public,
        ) from error


def _study(name: str, storage: RDBStorage, public: str) -> optuna.Study:
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        raise StudyError(
            f"holds no study called '{name}'; restore resources.storage and resources.study_name in config.yaml, or "
            "rebuild the study with `nas_distill repair RUN`",
            code="study.missing",
            field=public,
        ) from None


def _public(url: str) -> str:
    """Return the storage URL without its password.

    Raises:
        StudyError: The text is not a URL.
    """
    try:
        return make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        raise StudyError(
            "is not a database URL; write one such as sqlite:////folder/study.db or postgresql://user@host/name",
            code="study.storage_url",
            field="resources.storage",
        ) from None


def _table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame.from_records(sorted(rows, key=itemgetter("number")), columns=list(COLUMNS))
    return frame.astype(dict(COLUMNS))


def _table_of_curves(curves: Sequence[NDArray[np.float64]]) -> pd.DataFrame:
    ordered = sorted((curve for curve in curves if len(curve)), key=lambda curve: curve[0, 0])
    values = np.concatenate(ordered) if ordered else np.empty((0, 2 + len(CURVE_VALUES)))
    frame = pd.DataFrame(values, columns=["number", "epoch", *CURVE_VALUES])
    return frame.astype({"number": "int64", "epoch": "int64"})


def _rejection(trial: _Trial) -> Rejection:
    spec = spec_of(trial.attributes.get("spec"))
    return Rejection(
        number=trial.number, candidate=spec.get("architecture", ""), reason=str(trial.attributes["rejection"])
    )
