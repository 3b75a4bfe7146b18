"""The Optuna study as a pandas table; the one place that reads a study without searching in it."""

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
from optuna.storages._rdb.models import TrialModel, TrialUserAttributeModel
from optuna.trial import TrialState
from pydantic_core import from_json
from sqlalchemy import and_, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from nas_distill.analysis.trials.columns import COLUMNS, CURVE_VALUES, curve_of, json_object, read_trial, row_of
from nas_distill.errors import StudyError
from nas_distill.objectives import Objective, check_objectives
from nas_distill.records import TeacherRecord
from nas_distill.records.base import other_version, parse_record
from nas_distill.records.task import TRIAL_SCHEMA_VERSION
from nas_distill.run_directory.config import read_run_config
from nas_distill.run_directory.files import reading
from nas_distill.run_directory.layout import RunDirectory

__all__ = ["COLUMNS", "CURVE_VALUES", "Rejection", "StudySnapshot", "load_frame", "read_parameters", "read_study"]

_ROWS_AT_A_TIME = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A candidate refused before training.

    Attributes:
        number: Trial number.
        candidate: The candidate's architecture; empty when the space did not get that far.
        reason: One line.
    """

    number: int
    candidate: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySnapshot:
    """A study as it stood when it was read.

    Attributes:
        trials: One row per ended trial, by number; columns as in `COLUMNS`.
        curves: One row per trained epoch of those trials, by number and epoch: int64 `number` and `epoch`, float64
            `CURVE_VALUES`.
        objectives: In the order of the study's values.
        teacher: The fixed network.
        rejections: Candidates refused before training.
        running: Trials in flight.
    """

    trials: pd.DataFrame
    curves: pd.DataFrame
    objectives: tuple[Objective, ...]
    teacher: TeacherRecord
    rejections: tuple[Rejection, ...]
    running: int


def load_frame(run: RunDirectory) -> pd.DataFrame:
    """Returns one row per ended trial of the run, by number; columns as in `COLUMNS`.

    Raises:
        RunError: There is no run, or its configuration or teacher cannot be read.
        StudyError: The study is missing, unreachable or damaged.
    """
    return read_study(run).trials


def read_study(run: RunDirectory) -> StudySnapshot:
    """Returns the run's study: trials, refusals, objectives and teacher.

    Raises:
        RunError: There is no run, or its configuration or teacher cannot be read.
        StudyError: The study is missing, unreachable or damaged.
    """
    config = read_run_config(run.existing())
    url, name = config.resources.storage or run.own_storage, config.resources.study_name
    origin = _public(url)
    rows: list[dict[str, Any]] = []
    curves, rejections, running = [], [], 0
    with _opened(url, name) as (study, storage):
        attributes = study.user_attrs
        version = attributes.get("schema_version")
        if version != TRIAL_SCHEMA_VERSION:
            raise other_version(f"{origin}: study '{name}'", version, TRIAL_SCHEMA_VERSION)
        for trial in _trials(study, storage):
            where = f"{origin}: trial {trial.number}"
            if trial.state is TrialState.RUNNING:
                running += 1
            elif not trial.state.is_finished():
                continue
            elif "rejection" in trial.attributes:
                rejections.append(_rejection(trial, where))
            else:
                # One trial at a time: all trials of a long study take gigabytes.
                stored = read_trial(trial.attributes, where)
                rows.append({"number": trial.number, **row_of(stored, where), "completed_at": trial.completed_at})
                curves.append(curve_of(trial.number, stored))
    teacher = attributes.get("teacher")
    return StudySnapshot(
        trials=_table(rows),
        curves=_table_of_curves(curves),
        objectives=check_objectives(attributes.get("objectives") or config.objectives),
        teacher=parse_record(TeacherRecord, teacher, origin=f"{origin}: teacher") if teacher else run.read_teacher(),
        rejections=tuple(sorted(rejections, key=lambda rejection: rejection.number)),
        running=running,
    )


def read_parameters(run: RunDirectory) -> dict[int, dict[str, Any]]:
    """Returns what the space was told to choose, by number of trial: names of parameters to values.

    Raises:
        RunError: There is no run, or its configuration cannot be read.
        StudyError: The study is missing, unreachable or damaged.
    """
    config = read_run_config(run.existing())
    with _opened(config.resources.storage or run.own_storage, config.resources.study_name) as (study, _):
        return {trial.number: dict(trial.params) for trial in study.get_trials(deepcopy=False)}


@dataclass(frozen=True, slots=True)
class _Trial:
    """What is read of a trial: the attributes `_READ` that it has, and when the study heard of its end."""

    number: int
    state: TrialState
    completed_at: datetime | None
    attributes: Mapping[str, Any]


_READ = ("task", "result", "spec", "cost", "rejection")


def _trials(study: optuna.Study, storage: RDBStorage) -> Iterator[_Trial]:
    """Yields the study's trials, by their order in the database, with one query.

    `Study.get_trials` builds every choice of every trial, its distribution and its other attributes too, which takes
    most of the time of reading a long study; a test holds that the two agree.
    """
    trial, attribute = TrialModel.__table__.c, TrialUserAttributeModel.__table__.c
    query = (
        select(trial.trial_id, trial.number, trial.state, trial.datetime_complete, attribute.key, attribute.value_json)
        .outerjoin_from(
            TrialModel.__table__,
            TrialUserAttributeModel.__table__,
            and_(attribute.trial_id == trial.trial_id, attribute.key.in_(_READ)),
        )
        .where(trial.study_id == study._study_id)
        .order_by(trial.trial_id)
    )
    with storage.engine.connect() as connection:
        found = connection.execution_options(yield_per=_ROWS_AT_A_TIME).execute(query)
        for _, lines in groupby(found, key=itemgetter(0)):
            (_, number, state, completed, *_), *_ = own = list(lines)
            yield _Trial(
                number=number,
                state=state,
                completed_at=completed and completed.replace(tzinfo=UTC),  # Optuna's database holds naive UTC
                attributes={key: from_json(value) for *_, key, value in own if key is not None},
            )


@contextmanager
def _opened(url: str, name: str) -> Iterator[tuple[optuna.Study, RDBStorage]]:
    """Yields the study `name` at `url`, and its storage, without creating anything there, and closes the connection."""
    public = _public(url)
    parsed = make_url(url)
    with reading(public):
        missing = parsed.drivername.startswith("sqlite") and not Path(parsed.database or "").is_file()
    if missing:
        raise StudyError(f"{public}: holds no study; give a run whose search has started, or restore its study.db")
    try:
        storage = RDBStorage(url, skip_table_creation=True)
        try:
            yield _study(name, storage, public), storage
        finally:
            storage.remove_session()
            storage.engine.dispose()
    except (SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError, ImportError) as error:
        cause = str(error.__cause__ or error).splitlines()[0]
        raise StudyError(f"{public}: cannot be read: {cause}; check resources.storage and the database") from error


def _study(name: str, storage: RDBStorage, public: str) -> optuna.Study:
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        raise StudyError(f"{public}: holds no study called '{name}'; check resources.storage in config.yaml") from None


def _public(url: str) -> str:
    """Returns the storage URL without its password.

    Raises:
        StudyError: It is no URL.
    """
    try:
        return make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        raise StudyError(
            "resources.storage: is not a database URL; write one such as sqlite:////folder/study.db or "
            "postgresql://user@host/name"
        ) from None


def _table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame.from_records(sorted(rows, key=itemgetter("number")), columns=list(COLUMNS))
    return frame.astype(dict(COLUMNS))


def _table_of_curves(curves: Sequence[NDArray[np.float64]]) -> pd.DataFrame:
    ordered = sorted((curve for curve in curves if len(curve)), key=lambda curve: curve[0, 0])
    values = np.concatenate(ordered) if ordered else np.empty((0, 2 + len(CURVE_VALUES)))
    frame = pd.DataFrame(values, columns=["number", "epoch", *CURVE_VALUES])
    return frame.astype({"number": "int64", "epoch": "int64"})


def _rejection(trial: _Trial, where: str) -> Rejection:
    spec = json_object(trial.attributes.get("spec"), where)
    return Rejection(
        number=trial.number, candidate=spec.get("architecture", ""), reason=str(trial.attributes["rejection"])
    )
