"""The Optuna study as a pandas table; the one place that reads a study without searching in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from nas_distill.config_io import read_run_config
from nas_distill.errors import StudyError
from nas_distill.frozen import SCHEMA_VERSION, parse_record
from nas_distill.objectives import Objective, check_objectives
from nas_distill.records import StudentSpec, TeacherRecord
from nas_distill.store import RunDirectory

_SCALARS = (
    "top1", "nll_nats", "gap_points", "agreement", "divergence_nats", "train_top1", "train_agreement",
    "train_divergence_nats", "generalisation_gap_points", "capacity_ratio", "ece", "feature_cka",
)  # fmt: skip

CURVE_VALUES = ("train_loss", "top1", "nll_nats", "gap_points", "agreement", "divergence_nats")
"""Columns of the table of curves, beside `number` and `epoch`; they mean what `EpochMetrics` says."""

COLUMNS: Mapping[str, str] = {
    "number": "Int64",
    "status": "string",
    "spec_id": "string",
    "family": "string",
    "architecture": "string",
    "arguments": "string",
    "num_params": "Int64",
    "macs": "Int64",
    "size_bytes": "Int64",
    "latency_ms": "float64",
    **dict.fromkeys(_SCALARS, "float64"),
    "class_gap_points": "string",
    "epochs": "Int64",
    "planned_epochs": "Int64",
    "wall_time_s": "float64",
    "seed": "Int64",
    "assistant": "Int64",
    "losses": "string",
    "recipe": "string",
    "resumptions": "Int64",
    "device": "string",
    "error": "string",
    "curve_gap_points": "string",
    "completed_at": "datetime64[ns, UTC]",
}
"""Columns of the table of trials, in order, with their pandas types.

`number` is Optuna's, `status` a `TrialStatus` value, `spec_id` the hash of the candidate. `arguments`,
`losses`, `recipe` and `class_gap_points` are JSON, as is `curve_gap_points` (the gap after each epoch,
percentage points). Costs, metrics, `epochs`, `seed`, `wall_time_s` (seconds) and `device` mean what `Cost`,
`StudentMetrics` and `TrialRecord` say; `assistant` is missing where the teacher taught. `planned_epochs` is full
fidelity. `completed_at` is when the study heard of the end. What is not known is missing (NaN, NA), never zero.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
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
        refusals: Candidates refused before training.
        running: Trials in flight.
    """

    trials: pd.DataFrame
    curves: pd.DataFrame
    objectives: tuple[Objective, ...]
    teacher: TeacherRecord
    refusals: tuple[Refusal, ...]
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
    with _opened(url, name) as study:
        attributes = study.user_attrs
        trials = study.get_trials(deepcopy=False)
    origin = _public(url)
    ended = sorted((trial for trial in trials if trial.state.is_finished()), key=lambda trial: trial.number)
    refused = [trial for trial in ended if "refusal" in trial.user_attrs]
    teacher = attributes.get("teacher")
    rows, curves = [], []
    for trial in ended:
        if "refusal" not in trial.user_attrs:
            record = _record(trial, origin)  # one at a time: all of a long study's take gigabytes
            rows.append(_row(trial, record, origin))
            curves.append(_curve(trial.number, record))
    return StudySnapshot(
        trials=_table(rows),
        curves=_table_of_curves(curves),
        objectives=check_objectives(attributes.get("objectives") or config.objectives),
        teacher=parse_record(TeacherRecord, teacher, origin=f"{origin}: teacher") if teacher else run.read_teacher(),
        refusals=tuple(_refusal(trial, origin) for trial in refused),
        running=sum(trial.state is TrialState.RUNNING for trial in trials),
    )


def read_parameters(run: RunDirectory) -> dict[int, dict[str, Any]]:
    """Returns what the space was told to choose, by number of trial: names of parameters to values.

    Raises:
        RunError: There is no run, or its configuration cannot be read.
        StudyError: The study is missing, unreachable or damaged.
    """
    config = read_run_config(run.existing())
    with _opened(config.resources.storage or run.own_storage, config.resources.study_name) as study:
        return {trial.number: dict(trial.params) for trial in study.get_trials(deepcopy=False)}


@contextmanager
def _opened(url: str, name: str) -> Iterator[optuna.Study]:
    """Yields the study `name` at `url` without creating anything there, and closes the connection."""
    public = _public(url)
    parsed = make_url(url)
    if parsed.drivername.startswith("sqlite") and not Path(parsed.database or "").is_file():
        raise StudyError(f"{public}: holds no study; give a run whose search has started, or restore its study.db")
    try:
        storage = optuna.storages.RDBStorage(url, skip_table_creation=True)
        try:
            yield optuna.load_study(study_name=name, storage=storage)
        finally:
            storage.remove_session()
            storage.engine.dispose()
    except KeyError:
        raise StudyError(f"{public}: holds no study called '{name}'; check resources.storage in config.yaml") from None
    except (SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError, ImportError) as error:
        cause = str(error.__cause__ or error).splitlines()[0]
        raise StudyError(f"{public}: cannot be read: {cause}; check resources.storage and the database") from error


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
    frame = pd.DataFrame.from_records(list(rows), columns=list(COLUMNS))
    return frame.astype(dict(COLUMNS))


def _table_of_curves(curves: Sequence[NDArray[np.float64]]) -> pd.DataFrame:
    values = np.concatenate(curves) if curves else np.empty((0, 2 + len(CURVE_VALUES)))
    frame = pd.DataFrame(values, columns=["number", "epoch", *CURVE_VALUES])
    return frame.astype({"number": "int64", "epoch": "int64"})


def _curve(number: int, record: Mapping[str, Any]) -> NDArray[np.float64]:
    """Returns the rows of a trial in the table of curves, float64 [epochs, 2 + len(CURVE_VALUES)]."""
    points = [[number, *map(point.get, ("epoch", *CURVE_VALUES))] for point in record.get("curve", ())]
    return np.array(points, dtype=np.float64).reshape(-1, 2 + len(CURVE_VALUES))


def _record(trial: FrozenTrial, origin: str) -> dict[str, Any]:
    """Returns a trial's record; empty where it has none."""
    where = f"{origin}: trial {trial.number}"
    record = _json(trial.user_attrs.get("record"), where)
    if record and record.get("schema_version") != SCHEMA_VERSION:
        raise StudyError(
            f"{where}: schema_version {record.get('schema_version')!r} is not {SCHEMA_VERSION}; "
            "it was written by another version of nas_distill, open the run with that one"
        )
    return record


def _row(trial: FrozenTrial, record: Mapping[str, Any], origin: str) -> dict[str, Any]:
    attributes = trial.user_attrs
    where = f"{origin}: trial {trial.number}"
    spec = record.get("spec") or _json(attributes.get("spec"), where)
    cost = record.get("cost") or _json(attributes.get("cost"), where)
    metrics = record.get("metrics") or {}
    recipe = record.get("recipe") or {}
    curve = [point.get("gap_points") for point in record.get("curve", ())]
    return {
        "number": trial.number,
        "status": record.get("status", "failed"),
        **_candidate(spec, where),
        **{name: cost.get(name) for name in ("num_params", "macs", "size_bytes", "latency_ms")},
        **{name: metrics.get(name) for name in _SCALARS},
        "class_gap_points": _dumped(metrics.get("class_gap_points")),
        "epochs": record.get("epochs"),
        "planned_epochs": recipe.get("epochs"),
        "wall_time_s": record.get("wall_time_s"),
        "seed": record.get("seed"),
        "assistant": record.get("assistant"),
        "losses": _dumped(recipe.get("losses")),
        "recipe": _dumped(recipe or None),
        "resumptions": record.get("resumptions"),
        "device": record.get("device"),
        "error": record.get("error") if record else "ended without a record: its worker died, or could not write",
        "curve_gap_points": _dumped(curve or None),
        "completed_at": _in_utc(trial),
    }


def _candidate(spec: Mapping[str, Any], where: str) -> dict[str, Any]:
    if not spec:
        return dict.fromkeys(("spec_id", "family", "architecture", "arguments"))
    parsed = parse_record(StudentSpec, json.dumps(spec), origin=f"{where}: spec")
    return {
        "spec_id": parsed.spec_id,
        "family": parsed.family,
        "architecture": parsed.architecture,
        "arguments": _dumped(spec.get("arguments", {})),
    }


def _refusal(trial: FrozenTrial, origin: str) -> Refusal:
    spec = _json(trial.user_attrs.get("spec"), f"{origin}: trial {trial.number}")
    return Refusal(number=trial.number, candidate=spec.get("architecture", ""), reason=str(trial.user_attrs["refusal"]))


def _in_utc(trial: FrozenTrial) -> pd.Timestamp | None:
    # Optuna keeps naive local times.
    return pd.Timestamp(trial.datetime_complete.astimezone()) if trial.datetime_complete else None


def _json(text: str | None, where: str) -> dict[str, Any]:
    """Returns the object in `text`; empty when there is no text."""
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise StudyError(f"{where}: holds damaged JSON ({error}); restore the study from the trials/ folder") from None
    if not isinstance(value, dict):
        raise StudyError(f"{where}: holds {type(value).__name__} where an object belongs")
    return value


def _dumped(value: object) -> str | None:
    return None if value is None else json.dumps(value, sort_keys=True, separators=(",", ":"))
