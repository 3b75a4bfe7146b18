"""The trials that TPE sees in a long study, and that it still learns from them."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from nas_distill.config import SamplerConfig
from nas_distill.objectives import check_objectives
from nas_distill.records import Cost, Recipe, StudentSpec
from nas_distill.records.task import TrialTask
from nas_distill.search.samplers.windowed_tpe import BEST, LATEST, StudyWindow, WindowedTPESampler
from nas_distill.search.study.ledger import StudyLedger
from tests.search.records import complete

OBJECTIVES = check_objectives(("gap_points", "num_params"))


def open_ledger(name: str, *, seed: int = 0, storage: str | None = None) -> StudyLedger:
    return StudyLedger(storage, "nas_distill", OBJECTIVES, seed, SamplerConfig(name=name))


def fill(ledger: StudyLedger, trials: int) -> None:
    """Add trials to a study, without trainings."""
    for number in range(trials):
        trial = ledger.ask(at_random=True)
        x = trial.suggest_float("x", 0, 1)
        task = TrialTask(
            number=trial.number, seed=0, spec=StudentSpec(architecture="a"), recipe=Recipe(),
            cost=Cost(num_params=1 + number, macs=1, size_bytes=1),
        )  # fmt: skip
        if x < 0.1:
            ledger.reject(trial, "over a limit", violations={"num_params": 1.0})
            continue
        ledger.assign(trial, task, {"num_params": -1.0})
        ledger.tell(complete(task, gap=x))


def test_a_window_holds_the_best_the_latest_and_the_running_trials() -> None:
    ledger, window = open_ledger("random"), StudyWindow()
    fill(ledger, BEST + LATEST)
    assert window.update(ledger._study) is ledger._study
    fill(ledger, 200)
    running = ledger.ask()
    visible = window.update(ledger._study)._get_trials()
    numbers = [trial.number for trial in visible]
    assert numbers == sorted(set(numbers))
    assert len(numbers) <= BEST + LATEST + 1
    assert numbers[-1] == running.number
    assert set(range(BEST + 200, BEST + LATEST + 200)) <= set(numbers)
    front = {trial.number for trial in ledger._study.best_trials}
    assert front <= set(numbers)
    states = (TrialState.COMPLETE,)
    assert {trial.state for trial in window.update(ledger._study)._get_trials(states=states)} == {TrialState.COMPLETE}


def test_a_window_that_is_updated_often_agrees_with_a_fresh_one() -> None:
    ledger, updated = open_ledger("random", seed=3), StudyWindow()
    fill(ledger, BEST + LATEST)
    running = ledger.ask()
    for _ in range(6):
        updated.update(ledger._study)
        fill(ledger, 17)
    visible = {trial.number: trial.state for trial in updated.update(ledger._study)._get_trials()}
    fresh = {trial.number: trial.state for trial in StudyWindow().update(ledger._study)._get_trials()}
    front = {trial.number for trial in ledger._study.best_trials}
    assert front <= visible.keys() & fresh.keys()
    assert visible[running.number] is TrialState.RUNNING
    latest = sorted(fresh)[-100:]
    assert {number: visible[number] for number in latest} == {number: fresh[number] for number in latest}
    ledger._reject_unassigned("for the test")
    assert running.number not in {trial.number for trial in updated.update(ledger._study)._get_trials()}


def test_tpe_updates_its_window_once_per_proposal(monkeypatch: pytest.MonkeyPatch) -> None:
    updates: list[set[int]] = []
    update = StudyWindow.update

    def spy(window: StudyWindow, study: optuna.Study) -> optuna.Study:
        visible = update(window, study)
        updates.append({trial.number for trial in visible._get_trials()})
        return visible

    monkeypatch.setattr(StudyWindow, "update", spy)
    ledger = open_ledger("tpe")
    fill(ledger, BEST + LATEST + 20)
    updates.clear()
    for _ in range(2):
        trial = ledger.ask()
        for name in "xyz":
            trial.suggest_float(name, 0, 1)
    assert len(updates) == 2
    assert updates[1] - updates[0] == {trial.number}


def test_tpe_learns_in_a_long_study() -> None:
    ledger = open_ledger("tpe")
    fill(ledger, BEST + LATEST + 50)
    values = [ledger.ask().suggest_float("x", 0, 1) for _ in range(8)]
    assert sum(0.1 <= value < 0.5 for value in values) >= 5  # 3.2 expected at random: small x have small gaps


def test_in_a_short_study_the_window_changes_nothing() -> None:
    ledger = open_ledger("tpe", seed=4)
    fill(ledger, 30)
    own = optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, seed=9)
    windowed = WindowedTPESampler(multivariate=True, group=True, constant_liar=True, seed=9)
    values = []
    for sampler in (own, windowed):
        ledger._study.sampler = sampler
        values.append(ledger._study.ask().suggest_float("x", 0, 1))
        ledger._reject_unassigned("for the test")
    assert values[0] == values[1]
