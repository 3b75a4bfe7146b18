"""Compare what two searches left on disk and in their studies."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import optuna

from benchmarks.scale.sleeping import read_log
from benchmarks.scale.sleeping_search import OBJECTIVES, STUDY
from nas_distill.analysis.front.arithmetic import non_dominated_mask
from nas_distill.records import TrialRecord, TrialStatus
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.protocol import EPOCH


def running_trials(folder: Path) -> list[int]:
    """Return the trials that workers have started and not finished."""
    run = RunDirectory(folder)
    numbers = [int(path.name) for path in run.trials.iterdir()] if run.trials.exists() else []
    return [number for number in numbers if not run.trial(number).result.exists()]


def records_of(folder: Path) -> dict[int, TrialRecord]:
    """Return the records on disk, by trial number."""
    run = RunDirectory(folder)
    found = {int(path.name): run.trial(int(path.name)).read_record() for path in run.trials.iterdir()}
    return {number: record for number, record in sorted(found.items()) if record is not None}


def inconsistent_rows(folder: Path, records: dict[int, TrialRecord]) -> int:
    """Return the number of rows of the study that are unfinished or differ from the records on disk."""
    study = optuna.load_study(study_name=STUDY, storage=RunDirectory(folder).own_storage)
    rows = {trial.number: trial for trial in study.trials}
    wrong = sum(not trial.state.is_finished() for trial in rows.values()) + len(rows.keys() ^ records.keys())
    for number, record in records.items():
        if number in rows and rows[number].user_attrs.get("result") != record.result().model_dump_json():
            wrong += 1
    return wrong


def differences(before: dict[int, TrialRecord], after: dict[int, TrialRecord]) -> list[int]:
    """Return the trials that only one of two searches has, or whose results differ, apart from times."""
    both = before.keys() & after.keys()
    return sorted(
        (before.keys() ^ after.keys()) | {number for number in both if facts(before[number]) != facts(after[number])}
    )


def facts(record: TrialRecord) -> tuple[object, ...]:
    """Return everything about a trial except for its times."""
    gaps = tuple(point.gap_points for point in record.curve)
    return (record.spec, record.recipe, record.seed, record.cost, record.status, record.epochs, record.metrics, gaps)


def wrongly_ended(after: dict[int, TrialRecord], arguments: argparse.Namespace, rungs: tuple[int, ...]) -> list[int]:
    """Return the trials of a search with early stopping that ended neither at their last epoch nor at a rung."""
    whole = {TrialStatus.COMPLETE: (arguments.epochs,), TrialStatus.STOPPED: rungs}
    bad = [number for number, record in after.items() if record.epochs not in whole.get(record.status, ())]
    return bad + [number for number, record in after.items() if len(record.curve) != record.epochs]


def front_of(records: dict[int, TrialRecord]) -> list[str]:
    """Return the IDs of the candidates on the front."""
    complete = [record for record in records.values() if record.metrics is not None]
    points = np.array([[record.metrics.gap_points, record.cost.num_params] for record in complete if record.metrics])
    mask = non_dominated_mask(points.reshape(-1, len(OBJECTIVES)))
    return sorted(record.spec.spec_id for record, on_front in zip(complete, mask, strict=True) if on_front)


def retrained_epochs(folder: Path, number: int) -> int:
    """Return the largest number of epochs of a trial that were trained again after one interruption."""
    most, reached = 0, 0
    again = 0
    for line in read_log(RunDirectory(folder).trial(number)):
        if "started_at" in line:
            again = 0
        elif EPOCH in line:
            again += line[EPOCH] <= reached
            reached = max(reached, line[EPOCH])
            most = max(most, again)
    return most
