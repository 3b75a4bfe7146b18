"""What every sampler must do, on the shipped spaces and a real study; and what the user's own may do wrong."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from nas_distill.config import SAMPLERS, SamplerConfig, SearchConfig
from nas_distill.errors import ConfigError, StudyError
from nas_distill.objectives import check_objectives
from nas_distill.records import Cost, Recipe
from nas_distill.records.task import TrialTask
from nas_distill.search.samplers.guarded import SamplerError, make_sampler, shipped_samplers
from nas_distill.search.spaces.loading import load_space, propose
from nas_distill.search.spaces.recipes import load_recipe_space, make_choices, propose_recipe
from nas_distill.search.study.ledger import StudyLedger
from tests.search.records import complete

OBJECTIVES = check_objectives(("gap_points", "num_params"))
SPACE, RECIPES = load_space("tiny"), load_recipe_space("search")
CHOICES = make_choices(SearchConfig())
STARTUP = 10
"""Trials that TPE and GP draw at random before they model anything."""

Parameters = list[Mapping[str, Any]]


def open_ledger(name: str, *, seed: int = 0, storage: str | None = None) -> StudyLedger:
    return StudyLedger(storage, "nas_distill", OBJECTIVES, seed, SamplerConfig(name=name))


def search(ledger: StudyLedger, trials: int) -> Parameters:
    """Asks for candidates, refuses the wide ones, pretends to train the others; returns all choices."""
    chosen: Parameters = []
    for _ in range(trials):
        trial = ledger.ask()
        spec = propose(SPACE, trial)
        recipe = propose_recipe(RECIPES, trial, Recipe(), CHOICES)
        wide = trial.params.get("resnet_width", 0) > 16
        violations = {"num_params": 0.3 if wide else -0.1}
        cost = Cost(num_params=1000 + trial.number, macs=1, size_bytes=1)
        if wide:
            ledger.reject(trial, "over budget", spec=spec, cost=cost, violations=violations)
        else:
            task = TrialTask(number=trial.number, seed=0, spec=spec, recipe=recipe, cost=cost)
            ledger.assign(trial, task, violations)
            ledger.tell(complete(task, gap=float(recipe.label_weight)))
        chosen.append(dict(trial.params))
    return chosen


def test_the_configuration_knows_the_samplers_that_exist() -> None:
    assert shipped_samplers() == SAMPLERS


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_is_deterministic_and_keeps_to_conditional_spaces(name: str) -> None:
    trials = STARTUP + 3
    first, again = search(open_ledger(name), trials), search(open_ledger(name), trials)
    assert first == again
    assert first[0] != search(open_ledger(name, seed=1), 1)[0]
    families = {choice["family"] for choice in first}
    assert families == {"resnet", "vit"}
    for choice in first:
        other = "vit_" if choice["family"] == "resnet" else "resnet_"
        assert not [parameter for parameter in choice if parameter.startswith(other)]


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_reopened_study_goes_on_with_new_proposals_and_what_was_learnt(name: str, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    ledger = open_ledger(name, storage=storage)
    first = search(ledger, 4)
    rejected = ledger.rejected()
    ledger.close()
    again = open_ledger(name, storage=storage)
    assert again.rejected() == rejected
    second = search(again, 4)
    assert not [choice for choice in second if choice in first]
    assert not again.unfinished()
    states = [trial.state for trial in optuna.load_study(study_name="nas_distill", storage=storage).trials]
    assert len(states) == 8
    assert set(states) <= {TrialState.COMPLETE, TrialState.PRUNED}


def own(folder: Path, body: str) -> str:
    file = folder / "mine.py"
    file.write_text(textwrap.dedent(body))
    return f"{file}:Mine"


GOOD = """
    from optuna.samplers import RandomSampler

    class Mine(RandomSampler):
        def __init__(self, seed=None):
            super().__init__(seed=seed)
"""


def test_a_sampler_of_ones_own_gets_the_seed(tmp_path: Path) -> None:
    name = own(tmp_path, GOOD)
    assert search(open_ledger(name, seed=3), 2) == search(open_ledger(name, seed=3), 2)
    assert make_sampler("optuna.samplers:RandomSampler", 0) is not None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import no_such_module", "does not import: ModuleNotFoundError"),
        ("Mine = 3", "must be a class derived from optuna.samplers.BaseSampler; it is 3"),
        ("class Mine: pass", "must be a class derived from"),
        ("", "there is none called 'Mine'"),
        (
            """
            from optuna.samplers import RandomSampler
            class Mine(RandomSampler):
                def __init__(self, depth):
                    pass
            """,
            "cannot be made: TypeError",
        ),
    ],
    ids=["import", "value", "class", "missing", "constructor"],
)
def test_what_is_no_sampler_is_one_line(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make_sampler(own(tmp_path, body), 0)
    assert str(caught.value).startswith("sampler.name: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["no_such_module:Sampler", "optuna.samplers:NoSuchSampler"])
def test_a_module_or_class_that_does_not_exist_is_one_line(name: str) -> None:
    with pytest.raises(ConfigError, match=r"sampler\.name: ") as caught:
        make_sampler(name, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["before_trial", "infer_relative_search_space", "sample_independent"])
def test_a_sampler_that_fails_while_it_is_asked_leaves_nothing_running(tmp_path: Path, method: str) -> None:
    body = (
        GOOD
        + f"""
        def {method}(self, *args):
            raise ZeroDivisionError("my own\\nmistake")
    """
    )
    ledger = open_ledger(own(tmp_path, body))
    with pytest.raises(SamplerError, match=rf"raised ZeroDivisionError: my own mistake in {method}") as caught:
        search(ledger, 1)
    assert "\n" not in str(caught.value)
    assert "--resume" in str(caught.value)
    assert ledger.unfinished() == []
    assert not [trial for trial in ledger._study.trials if trial.state is TrialState.RUNNING]


def test_a_sampler_that_proposes_what_there_is_not_is_one_line(tmp_path: Path) -> None:
    body = (
        GOOD
        + """
        def sample_independent(self, study, trial, name, distribution):
            return "resnext" if name == "family" else 10**9
    """
    )
    with pytest.raises(SamplerError, match="proposed 'resnext' for 'family', which is outside CategoricalDistribution"):
        search(open_ledger(own(tmp_path, body)), 1)


def test_a_sampler_that_fails_while_it_is_told_lets_running_trials_be_booked(tmp_path: Path) -> None:
    body = (
        GOOD
        + """
        def after_trial(self, study, trial, state, values):
            raise RuntimeError("cannot learn")
    """
    )
    ledger = open_ledger(own(tmp_path, body))
    flying = []
    for _ in range(2):
        trial = ledger.ask()
        task = TrialTask(
            number=trial.number, seed=0, spec=propose(SPACE, trial), recipe=Recipe(),
            cost=Cost(num_params=1, macs=1, size_bytes=1),
        )  # fmt: skip
        ledger.assign(trial, task, {})
        flying.append(task)
    for task in flying:
        ledger.tell(complete(task, gap=1.0))
    assert len(ledger.ended()) == 2
    with pytest.raises(StudyError, match="cannot learn in after_trial"):
        ledger.ask()
    assert ledger.unfinished() == []


def test_a_sampler_of_another_kind_learns_from_trials_that_another_one_proposed(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    search(open_ledger("nsga2", storage=storage), 3)
    assert len(search(open_ledger("tpe", storage=storage), 2)) == 2


@pytest.mark.parametrize("name", ["nsga2", "nsga3"])
def test_a_trial_that_chance_draws_has_a_place_in_a_genetic_samplers_generation(name: str) -> None:
    ledger = open_ledger(name)
    drawn = [ledger.ask(at_random=at_random) for at_random in (True, False)]
    for trial in drawn:
        trial.suggest_float("x", 0, 1)  # where a genetic sampler makes a place for its own
    attributes = [ledger._study.trials[trial.number].system_attrs for trial in drawn]
    assert attributes[0] == attributes[1] != {}
