"""Optuna's private API still is what `optuna_private` assumes."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers._ga import BaseGASampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from nas_distill import optuna_private

READ_IN = "5.0.0"
CHANGED = (
    f"Optuna {optuna.__version__} differs from {READ_IN}, which nas_distill/optuna_private.py was written "
    "for: read its source and adapt that file"
)


def parameters(function: Any) -> dict[str, Any]:
    return {name: one.default for name, one in inspect.signature(function).parameters.items()}


def test_the_module_names_the_version_that_was_read() -> None:
    assert optuna_private.__doc__ is not None
    assert f"Optuna {READ_IN}" in optuna_private.__doc__


def test_the_signatures_are_unchanged() -> None:
    empty = inspect.Parameter.empty
    expected = {"self": empty, "deepcopy": True, "states": None, "use_cache": False}
    assert parameters(optuna.Study._get_trials) == expected, CHANGED
    assert parameters(optuna_private._RestrictedStudy._get_trials) == expected
    assert parameters(BaseDistribution._contains) == {"self": empty, "param_value_in_internal_repr": empty}, CHANGED
    written = ("self", "session", "trial_id", "param_name", "param_value_internal", "distribution")
    expected = {**dict.fromkeys(written, empty), "previous_distribution": None}
    for database in (RDBStorage, optuna_private.UncheckedDatabase):
        assert parameters(database._set_trial_param_without_commit) == expected, CHANGED
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


def test_the_storage_in_memory_knows_the_study_of_a_trial_and_the_distributions() -> None:
    storage = optuna_private.MemoryStorage()
    other = optuna.create_study(storage=storage, study_name="other")
    study = optuna.create_study(storage=storage, study_name="study")
    trial = study.ask()
    assert storage.study_of_trial(optuna_private.trial_id_of(trial)) == optuna_private.study_id_of(study), CHANGED
    assert optuna_private.study_id_of(study) != optuna_private.study_id_of(other)
    storage.add_distributions(optuna_private.study_id_of(study), {"loss": CategoricalDistribution(("kd", "dist"))})
    with pytest.raises(ValueError, match="dynamic value space"):
        trial.suggest_categorical("loss", ["kd", "dkd"])
    assert other.ask().suggest_categorical("loss", ["kd"]) == "kd"


def test_a_planned_trial_suggests_the_planned_values_and_is_running() -> None:
    study = optuna.create_study(storage=(storage := optuna_private.MemoryStorage()))
    template = optuna_private.planned_trial({"x": 0.125}, user_attrs={"point": 3})
    trial_id = storage.create_new_trial(optuna_private.study_id_of(study), template_trial=template)
    trial = optuna.trial.Trial(study, trial_id)
    assert trial.suggest_float("x", 0.0, 1.0) == 0.125, CHANGED
    assert (study.trials[0].state, study.trials[0].user_attrs) == (TrialState.RUNNING, {"point": 3}), CHANGED


def test_the_unchecked_database_writes_what_optuna_reads(tmp_path: Path) -> None:
    database = optuna_private.UncheckedDatabase(f"sqlite:///{tmp_path / 'study.db'}")
    study = optuna.create_study(storage=database, study_name="s")
    trial = study.ask()
    trial.suggest_float("rate", 1e-4, 1.0, log=True)
    trial.suggest_categorical("loss", ["kd", "dist"])
    (read,) = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path / 'study.db'}").trials
    assert (read.params, read.distributions) == (trial.params, trial.distributions), CHANGED


def test_the_tables_have_the_expected_columns() -> None:
    trials, attributes = (
        set(model.__table__.c.keys()) for model in (optuna_private.TrialModel, optuna_private.TrialUserAttributeModel)
    )
    assert {"trial_id", "number", "study_id", "state", "datetime_complete"} <= trials, CHANGED
    assert {"trial_id", "key", "value_json"} <= attributes, CHANGED
