"""How a study's rows reach the database, and what happens when they cannot."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import event

from nas_distill.errors import StudyError
from nas_distill.objectives import check_objectives
from nas_distill.search.study import ledger as ledger_module
from nas_distill.search.study.database import LedgerStorage
from nas_distill.search.study.ledger import StudyLedger
from tests.helpers import make_task
from tests.search.study.ledgers import ask_and_assign, complete, open_ledger, stored, url

OBJECTIVES = check_objectives(("gap_points", "num_params"))


def test_choices_are_written_without_a_look_at_those_of_other_trials(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    storage = LedgerStorage(url)
    study = optuna.create_study(storage=storage, study_name="s", sampler=optuna.samplers.RandomSampler(seed=0))
    assert storage.database is not None
    statements: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
        statements.append(statement)

    event.listen(storage.database._database.engine, "before_cursor_execute", note)
    trial = study.ask()
    trial.suggest_float("rate", 1e-4, 1.0, log=True)
    trial.suggest_categorical("loss", ["kd", "dist"])
    trial.suggest_int("depth", 1, 9, step=2)
    storage.save(trial._trial_id)
    assert any("INSERT INTO trial_params" in statement for statement in statements)
    assert not [statement for statement in statements if "SELECT" in statement and "trial_params" in statement]
    storage.close()
    (row,) = optuna.load_study(study_name="s", storage=url).trials
    assert row.params == trial.params
    assert row.distributions == trial.distributions


def test_choices_that_differ_from_earlier_ones_in_the_database_are_refused_in_memory(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    first = LedgerStorage(url)
    trial = optuna.create_study(storage=first, study_name="s").ask()
    trial.suggest_categorical("loss", ["kd", "dist"])
    first.save(trial._trial_id)
    first.close()
    again = optuna.create_study(storage=LedgerStorage(url), study_name="s")
    with pytest.raises(ValueError, match="CategoricalDistribution does not support dynamic value space"):
        again.ask().suggest_categorical("loss", ["kd", "dkd"])


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("not a url", "no database URL"),
        ("sqlite:////nowhere/at/all/study.db", "unable to open database file"),
        ("postgresql+nodriver://u:secret@h/db", "nodriver"),
        ("postgresql://u:secret@h:port/db", r"'postgresql://u:\*\*\*@h:port/db' is no database URL \(invalid literal"),
        ("sqlite:///study.db?timeout=long", r"is no database URL \(could not convert string to float"),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_line(storage: str, message: str) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        StudyLedger(storage, "nas_distill", OBJECTIVES, 0)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_damaged_database_is_a_study_error(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StudyError, match="not a database"):
        open_ledger(tmp_path)


def test_a_briefly_locked_database_is_waited_for(tmp_path: Path) -> None:
    import threading

    ledger = open_ledger(tmp_path)
    locker = sqlite3.connect(tmp_path / "study.db", check_same_thread=False)
    locker.execute("BEGIN EXCLUSIVE")
    timer = threading.Timer(1.0, locker.rollback)
    timer.start()
    try:
        number = ask_and_assign(ledger)
    finally:
        timer.join()
        locker.close()
    assert [task.number for task in ledger.unfinished()] == [number]


def test_a_waiting_row_of_somebody_elses_is_the_next_proposal(tmp_path: Path) -> None:
    open_ledger(tmp_path)
    optuna.load_study(study_name="nas_distill", storage=url(tmp_path)).enqueue_trial({"x": 0.125})
    ledger = open_ledger(tmp_path)
    assert ledger.unfinished() == []
    trial = ledger.ask()
    assert trial.suggest_float("x", 0, 1) == 0.125
    ledger.reject(trial, "for the test")
    assert {row.state for row in stored(tmp_path)} == {TrialState.FAIL}


def test_a_database_that_stays_locked_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "LedgerStorage", partial(LedgerStorage, patience_s=0.5))
    ledger = open_ledger(tmp_path)
    number = ask_and_assign(ledger)
    with closing(sqlite3.connect(tmp_path / "study.db")) as locker:
        locker.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StudyError, match=r"study\.db: .*database is locked, and stayed so for") as caught:
            ask_and_assign(ledger)
        locker.rollback()
    assert "\n" not in str(caught.value)
    assert "--resume" in str(caught.value)
    again = open_ledger(tmp_path)
    assert [task.number for task in again.unfinished()] == [number]


def test_a_read_only_database_is_one_line(tmp_path: Path) -> None:
    ask_and_assign(open_ledger(tmp_path))
    read_only = f"sqlite:///file:{tmp_path / 'study.db'}?mode=ro&uri=true"
    with pytest.raises(StudyError, match="attempt to write a readonly database; make the file and its folder writable"):
        StudyLedger(read_only, "nas_distill", OBJECTIVES, 0)


def test_trials_of_another_program_beside_the_search_are_one_line(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    flying = ask_and_assign(ledger)
    optuna.load_study(study_name="nas_distill", storage=url(tmp_path)).ask()
    with pytest.raises(StudyError, match="another program has added trials") as caught:
        ask_and_assign(ledger)
    assert "\n" not in str(caught.value)
    again = open_ledger(tmp_path)
    assert [task.number for task in again.unfinished()] == [flying]
    assert ask_and_assign(again) == 2


def test_the_database_has_what_memory_has(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    later = ledger.ask()
    later.suggest_float("x", 0, 1)
    ledger.tell(complete(ask_and_assign(ledger)))
    ledger.assign(later, make_task(later.number), {"num_params": -1.0})
    ledger.reject(ledger.ask(), "for the test")
    for mine, theirs in zip(ledger._study.trials, stored(tmp_path), strict=True):
        for name in ("number", "state", "values", "params", "distributions", "user_attrs", "system_attrs"):
            assert getattr(mine, name) == getattr(theirs, name)
