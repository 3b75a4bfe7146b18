"""What TPE sees of a long study, and that it still learns."""

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


def told(ledger: StudyLedger, trials: int) -> None:
    """Fills a study as fast as can be."""
    for number in range(trials):
        trial = ledger.ask(at_random=True)
        x = trial.suggest_float("x", 0, 1)
        task = TrialTask(
            number=trial.number, seed=0, spec=StudentSpec(architecture="a"), recipe=Recipe(),
            cost=Cost(num_params=1 + number, macs=1, size_bytes=1),
        )  # fmt: skip
        if x < 0.1:
            ledger.reject(trial, "over budget", violations={"num_params": 1.0})
            continue
        ledger.assign(trial, task, {"num_params": -1.0})
        ledger.tell(complete(task, gap=x))


def test_a_window_holds_the_best_the_latest_and_what_is_in_flight() -> None:
    ledger, window = open_ledger("random"), StudyWindow()
    told(ledger, BEST + LATEST)
    assert window.update(ledger._study) is ledger._study
    told(ledger, 200)
    flying = ledger.ask()
    seen = window.update(ledger._study)._get_trials()
    numbers = [trial.number for trial in seen]
    assert numbers == sorted(set(numbers))
    assert len(numbers) <= BEST + LATEST + 1
    assert numbers[-1] == flying.number
    assert set(range(BEST + 200, BEST + LATEST + 200)) <= set(numbers)
    front = {trial.number for trial in ledger._study.best_trials}
    assert front <= set(numbers)
    states = (TrialState.COMPLETE,)
    assert {trial.state for trial in window.update(ledger._study)._get_trials(states=states)} == {TrialState.COMPLETE}


def test_a_window_that_is_kept_up_to_date_has_the_front_and_the_latest_of_one_that_is_not() -> None:
    ledger, kept = open_ledger("random", seed=3), StudyWindow()
    told(ledger, BEST + LATEST)
    flying = ledger.ask()
    for _ in range(6):
        kept.update(ledger._study)
        told(ledger, 17)
    seen = {trial.number: trial.state for trial in kept.update(ledger._study)._get_trials()}
    fresh = {trial.number: trial.state for trial in StudyWindow().update(ledger._study)._get_trials()}
    front = {trial.number for trial in ledger._study.best_trials}
    assert front <= seen.keys() & fresh.keys()
    assert seen[flying.number] is TrialState.RUNNING
    latest = sorted(fresh)[-100:]
    assert {number: seen[number] for number in latest} == {number: fresh[number] for number in latest}
    ledger._reject_unassigned("for the test")
    assert flying.number not in {trial.number for trial in kept.update(ledger._study)._get_trials()}


def test_tpe_looks_at_a_long_study_once_per_proposal_and_anew_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[set[int]] = []
    look = StudyWindow.update

    def spy(window: StudyWindow, study: optuna.Study) -> optuna.Study:
        seen = look(window, study)
        looks.append({trial.number for trial in seen._get_trials()})
        return seen

    monkeypatch.setattr(StudyWindow, "update", spy)
    ledger = open_ledger("tpe")
    told(ledger, BEST + LATEST + 20)
    looks.clear()
    for _ in range(2):
        trial = ledger.ask()
        for name in "xyz":
            trial.suggest_float(name, 0, 1)
    assert len(looks) == 2
    assert looks[1] - looks[0] == {trial.number}


def test_tpe_learns_in_a_long_study() -> None:
    ledger = open_ledger("tpe")
    told(ledger, BEST + LATEST + 50)
    values = [ledger.ask().suggest_float("x", 0, 1) for _ in range(8)]
    assert sum(0.1 <= value < 0.5 for value in values) >= 5  # 3.2 by chance: small gaps are at small x


def test_in_a_short_study_the_window_changes_nothing() -> None:
    ledger = open_ledger("tpe", seed=4)
    told(ledger, 30)
    own = optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, seed=9)
    windowed = WindowedTPESampler(multivariate=True, group=True, constant_liar=True, seed=9)
    values = []
    for sampler in (own, windowed):
        ledger._study.sampler = sampler
        values.append(ledger._study.ask().suggest_float("x", 0, 1))
        ledger._reject_unassigned("for the test")
    assert values[0] == values[1]
