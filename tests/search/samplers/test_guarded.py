"""The contract of every sampler, on a shipped space and a real study; and the faults of users' samplers."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from nas_distill.config import SAMPLERS, SamplerConfig, TeacherConfig
from nas_distill.errors import ConfigError, StudyError
from nas_distill.objectives import check_objectives
from nas_distill.records import Cost, Recipe
from nas_distill.records.task import TrialTask
from nas_distill.search.samplers.guarded import SamplerError, make_sampler
from nas_distill.search.spaces.loading import load_space, propose
from nas_distill.search.spaces.recipes import load_recipe_space, make_choices, propose_recipe
from nas_distill.search.study.ledger import StudyLedger
from tests.helpers import make_space_context
from tests.search.records import complete

OBJECTIVES = check_objectives(("gap_points", "num_params"))
SPACE, RECIPES = load_space("tiny"), load_recipe_space("search")
CHOICES = make_choices(Recipe(), TeacherConfig())
STARTUP = 10
"""Number of random trials before TPE and GP use a model."""

Parameters = list[Mapping[str, Any]]


def open_ledger(name: str, *, seed: int = 0, storage: str | None = None) -> StudyLedger:
    return StudyLedger(storage, "nas_distill", OBJECTIVES, seed, SamplerConfig(name=name))


def search(ledger: StudyLedger, trials: int) -> Parameters:
    """Propose candidates, reject wide ones, record made-up results for the others; return all parameters."""
    chosen: Parameters = []
    for _ in range(trials):
        trial = ledger.ask()
        spec = propose(SPACE, trial, make_space_context())
        recipe = propose_recipe(RECIPES, trial, Recipe(), CHOICES)
        wide = trial.params.get("resnet_width", 0) > 16
        violations = {"num_params": 0.3 if wide else -0.1}
        cost = Cost(num_params=1000 + trial.number, macs=1, size_bytes=1)
        if wide:
            ledger.reject(trial, "over a limit", spec=spec, cost=cost, violations=violations)
        else:
            task = TrialTask(number=trial.number, seed=0, spec=spec, recipe=recipe, cost=cost)
            ledger.assign(trial, task, violations)
            ledger.tell(complete(task, gap=float(recipe.label_weight)))
        chosen.append(dict(trial.params))
    return chosen


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_is_deterministic_and_respects_conditional_spaces(name: str) -> None:
    trials = STARTUP + 2
    first, again = search(open_ledger(name), trials), search(open_ledger(name), trials)
    assert first == again
    assert first[0] != search(open_ledger(name, seed=1), 1)[0]
    families = {choice["family"] for choice in first}
    assert families == {"resnet", "vit"}
    for choice in first:
        other = "vit_" if choice["family"] == "resnet" else "resnet_"
        assert not [parameter for parameter in choice if parameter.startswith(other)]


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_reopened_study_continues_with_new_proposals(name: str, tmp_path: Path) -> None:
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


def test_a_users_sampler_receives_the_seed(tmp_path: Path) -> None:
    name = own(tmp_path, GOOD)
    assert search(open_ledger(name, seed=3), 2) == search(open_ledger(name, seed=3), 2)
    assert make_sampler("optuna.samplers:RandomSampler", 0) is not None


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("import no_such_module", "search.import_failed"),
        ("Mine = 3", "search.not_a_sampler"),
        ("class Mine: pass", "search.not_a_sampler"),
        ("", "search.not_a_sampler"),
        (
            """
            from optuna.samplers import RandomSampler
            class Mine(RandomSampler):
                def __init__(self, depth):
                    pass
            """,
            "search.sampler_constructor_failed",
        ),
    ],
    ids=["import", "value", "class", "missing", "constructor"],
)
def test_a_class_that_is_not_a_usable_sampler_is_rejected(tmp_path: Path, body: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_sampler(own(tmp_path, body), 0)
    assert (caught.value.code, caught.value.field) == (code, "sampler.name")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("no_such_module:Sampler", "search.import_failed"),
        ("optuna.samplers:NoSuchSampler", "search.not_a_sampler"),
        ("missing.py:Sampler", "search.file_unreadable"),
    ],
)
def test_a_module_or_class_that_does_not_exist_is_rejected(name: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_sampler(name, 0)
    assert (caught.value.code, caught.value.field) == (code, "sampler.name")


@pytest.mark.parametrize("method", ["before_trial", "infer_relative_search_space", "sample_independent"])
def test_a_sampler_that_fails_at_a_proposal_leaves_no_trial_running(tmp_path: Path, method: str) -> None:
    body = (
        GOOD
        + f"""
        def {method}(self, *args):
            raise ZeroDivisionError("my own\\nmistake")
    """
    )
    ledger = open_ledger(own(tmp_path, body))
    with pytest.raises(SamplerError) as caught:
        search(ledger, 1)
    assert (caught.value.code, caught.value.field) == ("search.sampler_failed", "sampler.name")
    assert "\n" not in str(caught.value)
    assert method in str(caught.value)
    assert ledger.unfinished() == []
    assert not [trial for trial in ledger._study.trials if trial.state is TrialState.RUNNING]


def test_a_proposal_outside_the_distribution_is_an_error(tmp_path: Path) -> None:
    body = (
        GOOD
        + """
        def sample_independent(self, study, trial, name, distribution):
            return "resnext" if name == "family" else 10**9
    """
    )
    with pytest.raises(SamplerError) as caught:
        search(open_ledger(own(tmp_path, body)), 1)
    assert (caught.value.code, caught.value.field) == ("search.sampler_proposal", "sampler.name")


def test_a_sampler_that_fails_after_a_trial_lets_running_trials_be_recorded(tmp_path: Path) -> None:
    body = (
        GOOD
        + """
        def after_trial(self, study, trial, state, values):
            raise RuntimeError("cannot learn")
    """
    )
    ledger = open_ledger(own(tmp_path, body))
    running = []
    for _ in range(2):
        trial = ledger.ask()
        task = TrialTask(
            number=trial.number, seed=0, spec=propose(SPACE, trial, make_space_context()), recipe=Recipe(),
            cost=Cost(num_params=1, macs=1, size_bytes=1),
        )  # fmt: skip
        ledger.assign(trial, task, {})
        running.append(task)
    for task in running:
        ledger.tell(complete(task, gap=1.0))
    assert len(ledger.ended()) == 2
    with pytest.raises(StudyError) as caught:
        ledger.ask()
    assert caught.value.code == "search.sampler_failed"
    assert ledger.unfinished() == []


def test_a_sampler_accepts_trials_that_another_sampler_proposed(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    search(open_ledger("nsga2", storage=storage), 3)
    assert len(search(open_ledger("tpe", storage=storage), 2)) == 2


@pytest.mark.parametrize("name", ["nsga2", "nsga3"])
def test_a_random_trial_belongs_to_a_generation_of_a_genetic_sampler(name: str) -> None:
    ledger = open_ledger(name)
    drawn = [ledger.ask(at_random=at_random) for at_random in (True, False)]
    for trial in drawn:
        trial.suggest_float("x", 0, 1)  # a genetic sampler assigns the generation here
    attributes = [ledger._study.trials[trial.number].system_attrs for trial in drawn]
    assert attributes[0] == attributes[1] != {}
