"""The Optuna study as a pandas table. Nothing else reads a study without searching in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas_distill.analysis.trials.columns import COLUMNS, CURVE_VALUES, read_row, spec_of
from nas_distill.analysis.trials.study_database import StoredRow, opened_study, public_url, stored_rows
from nas_distill.errors import RunError, StudyError
from nas_distill.objectives import Objective, check_objectives
from nas_distill.records import TeacherRecord
from nas_distill.records.base import other_version, parse_sealed, seal
from nas_distill.records.export import Int8Record
from nas_distill.records.task import TRIAL_SCHEMA_VERSION
from nas_distill.run_directory.config import read_run_config
from nas_distill.run_directory.files import read_record
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.results import incomplete_study

__all__ = ["COLUMNS", "CURVE_VALUES", "Rejection", "StudySnapshot", "load_frame", "read_parameters", "read_study"]


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
    origin = public_url(url)
    rows: list[dict[str, Any]] = []
    curves, rejections, damaged, running = [], [], [], 0
    missing = run.trial_numbers()
    with opened_study(url, name) as (study, storage):
        attributes = study.user_attrs
        version = attributes.get("schema_version")
        if version != TRIAL_SCHEMA_VERSION:
            raise other_version(f"{origin}: study '{name}'", version, TRIAL_SCHEMA_VERSION)
        for trial in stored_rows(study, storage):
            where = f"{origin}: trial {trial.number}"
            missing.discard(trial.number)
            if trial.is_running:
                running += 1
            elif not trial.is_ended:
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
    run: RunDirectory, trial: StoredRow, where: str
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
    with opened_study(config.resources.storage_url or run.own_storage, config.resources.study_name) as (study, _):
        return {trial.number: dict(trial.params) for trial in study.get_trials(deepcopy=False)}


def _table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame.from_records(sorted(rows, key=itemgetter("number")), columns=list(COLUMNS))
    return frame.astype(dict(COLUMNS))


def _table_of_curves(curves: Sequence[NDArray[np.float64]]) -> pd.DataFrame:
    ordered = sorted((curve for curve in curves if len(curve)), key=lambda curve: curve[0, 0])
    values = np.concatenate(ordered) if ordered else np.empty((0, 2 + len(CURVE_VALUES)))
    frame = pd.DataFrame(values, columns=["number", "epoch", *CURVE_VALUES])
    return frame.astype({"number": "int64", "epoch": "int64"})


def _rejection(trial: StoredRow) -> Rejection:
    spec = spec_of(trial.attributes.get("spec"))
    return Rejection(
        number=trial.number, candidate=spec.get("architecture", ""), reason=str(trial.attributes["rejection"])
    )
