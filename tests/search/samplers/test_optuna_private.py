"""Optuna's private API still is what `optuna_private` assumes."""

from __future__ import annotations

import inspect
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers._ga import BaseGASampler
from optuna.trial import FrozenTrial

from nas_distill.search.samplers import optuna_private

READ_IN = "5.0.0"
CHANGED = (
    f"Optuna {optuna.__version__} differs from {READ_IN}, which nas_distill/search/samplers/optuna_private.py was "
    "written for: read its source and adapt that file"
)


def parameters(function: Any) -> dict[str, Any]:
    return {name: one.default for name, one in inspect.signature(function).parameters.items()}


def test_the_module_names_the_version_that_was_read() -> None:
    assert optuna_private.__doc__ is not None
    assert f"Optuna {READ_IN}" in optuna_private.__doc__


def test_the_signatures_are_those_that_were_read() -> None:
    empty = inspect.Parameter.empty
    expected = {"self": empty, "deepcopy": True, "states": None, "use_cache": False}
    assert parameters(optuna.Study._get_trials) == expected, CHANGED
    assert parameters(optuna_private._RestrictedStudy._get_trials) == expected
    assert parameters(BaseDistribution._contains) == {"self": empty, "param_value_in_internal_repr": empty}, CHANGED
    assert parameters(BaseGASampler.get_trial_generation) == {"self": empty, "study": empty, "trial": empty}, CHANGED


def test_a_distribution_contains_only_its_values() -> None:
    for distribution, inside, outside in (
        (FloatDistribution(0.0, 1.0), (0.0, 1), (1.5, "half", None)),
        (FloatDistribution(0.0, 0.1, step=0.02), (0.04,), (0.03,)),
        (IntDistribution(2, 8, step=2), (2, 8), (3, 10, "x")),
        (CategoricalDistribution(("basic", 3)), ("basic", 3), ("other", 4)),
    ):
        assert all(optuna_private.contains(distribution, value) for value in inside), CHANGED
        assert not any(optuna_private.contains(distribution, value) for value in outside), CHANGED


def test_genetic_samplers_are_recognised() -> None:
    genetic = {optuna.samplers.NSGAIISampler, optuna.samplers.NSGAIIISampler}
    for sampler in (*genetic, optuna.samplers.TPESampler, optuna.samplers.RandomSampler):
        assert optuna_private.is_genetic(sampler()) is (sampler in genetic), CHANGED


def test_tpe_reads_no_trials_but_the_visible_ones() -> None:
    """TPE on a view of a long study proposes what TPE on a study of the visible trials alone proposes."""

    def make_trial(number: int) -> FrozenTrial:
        trial = optuna.trial.create_trial(
            params={"x": number / 40.0},
            distributions={"x": FloatDistribution(0.0, 1.0)},
            values=[abs(number / 40.0 - 0.3), float(number)],
        )
        trial.number = number
        return trial

    long, short = (optuna.create_study(directions=["minimize", "minimize"]) for _ in range(2))
    long.add_trials([make_trial(number) for number in range(40)])
    short.add_trials([make_trial(number) for number in range(20)])
    proposals = []
    for study, visible in ((long, optuna_private.restrict_study(long, long.trials[:20])), (short, short)):
        sampler = optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, seed=0)
        trial = study._storage.get_trial(study._storage.create_new_trial(study._study_id))
        space = sampler.infer_relative_search_space(visible, trial)
        proposals.append(sampler.sample_relative(visible, trial, space))
    assert proposals[0] == proposals[1] != {}, CHANGED
