"""How a study's rows reach the database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy import event

from nas_distill.search.storage import LedgerStorage


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
