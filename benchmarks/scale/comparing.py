"""What a search left on disk and in its study, against what another one left."""

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


def flying(folder: Path) -> list[int]:
    """Returns the trials that workers had begun and not ended."""
    run = RunDirectory(folder)
    numbers = [int(path.name) for path in run.trials.iterdir()] if run.trials.exists() else []
    return [number for number in numbers if not run.trial(number).result.exists()]


def records_of(folder: Path) -> dict[int, TrialRecord]:
    """Returns the records on disk, by trial."""
    run = RunDirectory(folder)
    found = {int(path.name): run.trial(int(path.name)).read_record() for path in run.trials.iterdir()}
    return {number: record for number, record in sorted(found.items()) if record is not None}


def unbooked(folder: Path, records: dict[int, TrialRecord]) -> int:
    """Returns how many rows of the study are unfinished, or are not what the ledger on disk says."""
    study = optuna.load_study(study_name=STUDY, storage=RunDirectory(folder).own_storage)
    rows = {trial.number: trial for trial in study.trials}
    wrong = sum(not trial.state.is_finished() for trial in rows.values()) + len(rows.keys() ^ records.keys())
    for number, record in records.items():
        if number in rows and rows[number].user_attrs.get("result") != record.result().model_dump_json():
            wrong += 1
    return wrong


def differences(before: dict[int, TrialRecord], after: dict[int, TrialRecord]) -> list[int]:
    """Returns the trials that one of two searches lacks, or that came to something else there, but for times."""
    both = before.keys() & after.keys()
    return sorted(
        (before.keys() ^ after.keys()) | {number for number in both if facts(before[number]) != facts(after[number])}
    )


def facts(record: TrialRecord) -> tuple[object, ...]:
    """Returns what a trial came to."""
    gaps = tuple(point.gap_points for point in record.curve)
    return (record.spec, record.recipe, record.seed, record.cost, record.status, record.epochs, record.metrics, gaps)


def broken(after: dict[int, TrialRecord], arguments: argparse.Namespace, rungs: tuple[int, ...]) -> list[int]:
    """Returns the trials of a search with early stopping that did not end at their last epoch or at a rung."""
    whole = {TrialStatus.COMPLETE: (arguments.epochs,), TrialStatus.STOPPED: rungs}
    bad = [number for number, record in after.items() if record.epochs not in whole.get(record.status, ())]
    return bad + [number for number, record in after.items() if len(record.curve) != record.epochs]


def front_of(records: dict[int, TrialRecord]) -> list[str]:
    """Returns the candidates on the front."""
    complete = [record for record in records.values() if record.metrics is not None]
    places = np.array([[record.metrics.gap_points, record.cost.num_params] for record in complete if record.metrics])
    mask = non_dominated_mask(places.reshape(-1, len(OBJECTIVES)))
    return sorted(record.spec.spec_id for record, on_front in zip(complete, mask, strict=True) if on_front)


def redone(folder: Path, number: int) -> int:
    """Returns the most epochs of a trial that were trained again after one of its interruptions."""
    most, reached = 0, 0
    again = 0
    for line in read_log(RunDirectory(folder).trial(number)):
        if "begun_at" in line:
            again = 0
        elif EPOCH in line:
            again += line[EPOCH] <= reached
            reached = max(reached, line[EPOCH])
            most = max(most, again)
    return most
