"""How trials are written to the database, and the errors of a database that cannot be used."""

from __future__ import annotations

import sqlite3
import threading
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
from nas_distill.optuna_private import without_constraint_list
from nas_distill.search.study import ledger as ledger_module
from nas_distill.search.study.ledger import StudyLedger
from nas_distill.search.study.memory_mirror import MirroredStorage
from tests.helpers import make_task
from tests.search.study.ledgers import ask_and_assign, complete, open_ledger, stored, url

OBJECTIVES = check_objectives(("gap_points", "num_params"))


def test_parameters_are_written_without_reading_other_trials(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    storage = MirroredStorage(url)
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


def test_parameters_incompatible_with_the_database_are_rejected_in_memory(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    first = MirroredStorage(url)
    trial = optuna.create_study(storage=first, study_name="s").ask()
    trial.suggest_categorical("loss", ["kd", "dist"])
    first.save(trial._trial_id)
    first.close()
    again = optuna.create_study(storage=MirroredStorage(url), study_name="s")
    with pytest.raises(ValueError, match="dynamic value space"):  # Optuna's own error
        again.ask().suggest_categorical("loss", ["kd", "dkd"])


@pytest.mark.parametrize(
    ("storage", "code", "field"),
    [
        ("not a url", "study.storage_url", "--storage"),
        ("sqlite:////nowhere/at/all/study.db", "study.storage_failed", "sqlite:////nowhere/at/all/study.db"),
        ("mysql://u:secret@h/db", "study.driver_missing", "mysql://u:***@h/db"),
        ("postgresql+nodriver://u:secret@h/db", "study.storage_failed", "postgresql+nodriver://u:***@h/db"),
        ("postgresql://u:secret@h:port/db", "study.storage_url", "--storage"),
        ("sqlite:///study.db?timeout=long", "study.storage_url", "--storage"),
    ],
)
def test_an_unusable_storage_is_an_error_of_one_line(storage: str, code: str, field: str) -> None:
    with pytest.raises(StudyError) as caught:
        StudyLedger(storage, "nas_distill", OBJECTIVES, 0)
    assert (caught.value.code, caught.value.field) == (code, field)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_damaged_database_is_a_study_error(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StudyError) as caught:
        open_ledger(tmp_path)
    assert (caught.value.code, caught.value.field) == ("study.storage_failed", url(tmp_path))


def test_a_briefly_locked_database_is_waited_for(tmp_path: Path) -> None:
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


def test_a_trial_that_another_program_enqueued_is_the_next_proposal(tmp_path: Path) -> None:
    open_ledger(tmp_path)
    optuna.load_study(study_name="nas_distill", storage=url(tmp_path)).enqueue_trial({"x": 0.125})
    ledger = open_ledger(tmp_path)
    assert ledger.unfinished() == []
    trial = ledger.ask()
    assert trial.suggest_float("x", 0, 1) == 0.125
    ledger.reject(trial, "for the test")
    assert {row.state for row in stored(tmp_path)} == {TrialState.FAIL}


def test_a_database_that_stays_locked_is_an_error_of_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "MirroredStorage", partial(MirroredStorage, lock_timeout_s=0.5))
    ledger = open_ledger(tmp_path)
    number = ask_and_assign(ledger)
    with closing(sqlite3.connect(tmp_path / "study.db")) as locker:
        locker.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StudyError) as caught:
            ask_and_assign(ledger)
        locker.rollback()
    assert (caught.value.code, caught.value.field) == ("study.locked", url(tmp_path))
    assert "\n" not in str(caught.value)
    assert "--resume" in str(caught.value)
    again = open_ledger(tmp_path)
    assert [task.number for task in again.unfinished()] == [number]


def test_a_read_only_database_is_an_error_of_its_own(tmp_path: Path) -> None:
    ask_and_assign(open_ledger(tmp_path))
    read_only = f"sqlite:///file:{tmp_path / 'study.db'}?mode=ro&uri=true"
    with pytest.raises(StudyError) as caught:
        StudyLedger(read_only, "nas_distill", OBJECTIVES, 0)
    assert caught.value.code == "study.read_only"
    assert str(tmp_path / "study.db") in str(caught.value.field).replace("%2F", "/")


def test_trials_that_another_program_adds_during_the_search_are_an_error(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    flying = ask_and_assign(ledger)
    optuna.load_study(study_name="nas_distill", storage=url(tmp_path)).ask()
    with pytest.raises(StudyError) as caught:
        ask_and_assign(ledger)
    assert (caught.value.code, caught.value.field) == ("study.other_writer", "study")
    assert "\n" not in str(caught.value)
    again = open_ledger(tmp_path)
    assert [task.number for task in again.unfinished()] == [flying]
    assert ask_and_assign(again) == 2


def test_the_database_holds_the_same_trials_as_memory(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    later = ledger.ask()
    later.suggest_float("x", 0, 1)
    ledger.tell(complete(ask_and_assign(ledger)))
    ledger.assign(later, make_task(later.number), {"num_params": -1.0})
    ledger.reject(ledger.ask(), "for the test")
    for mine, theirs in zip(ledger._study.trials, stored(tmp_path), strict=True):
        for name in ("number", "state", "values", "params", "distributions", "user_attrs"):
            assert getattr(mine, name) == getattr(theirs, name)
        assert mine.system_attrs == without_constraint_list(theirs.system_attrs)
