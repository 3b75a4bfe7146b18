"""A ledger in a database of its own, and records to end its trials with."""

from __future__ import annotations

from pathlib import Path

import optuna

from nas_distill.objectives import check_objectives
from nas_distill.records import TrialRecord, TrialStatus
from nas_distill.search.study.ledger import StudyLedger
from tests.helpers import make_task
from tests.records.factory import changed_record
from tests.search import records


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'study.db'}"


def open_ledger(folder: Path, seed: int = 0, names: tuple[str, ...] = ("gap_points", "num_params")) -> StudyLedger:
    return StudyLedger(url(folder), "nas_distill", check_objectives(names), seed)


def stored(folder: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="nas_distill", storage=url(folder)).trials


def complete(number: int, gap: float = 1.5) -> TrialRecord:
    return records.complete(make_task(number), gap)


def failed(number: int) -> TrialRecord:
    return changed_record(complete(number), status=TrialStatus.FAILED, metrics=None, error="NaN")


def ask_and_assign(ledger: StudyLedger) -> int:
    trial = ledger.ask()
    trial.suggest_float("x", 0, 1)
    ledger.assign(trial, make_task(trial.number), {"num_params": -1.0})
    return trial.number
