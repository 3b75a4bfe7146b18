"""The choice of initial weights, without any training."""

from __future__ import annotations

import optuna
import pytest

from nas_distill.records import StudentSpec
from nas_distill.search.proposal.initial_weights import InitialWeightsChooser, UnfitWeightsError

NARROW = StudentSpec(architecture="small_resnet", arguments={"widths": (4, 4), "depths": (1, 1)}, family="resnet")
WIDE = StudentSpec(architecture="small_resnet", arguments={"widths": (99, 99), "depths": (1, 1)}, family="resnet")
RUN = "run:runs/first/3"


def only_narrow(spec: StudentSpec, initial_weights: str) -> str | None:
    """Fit all weights to `NARROW`; random weights fit any network."""
    return None if initial_weights == "random" or spec.network_id == NARROW.network_id else "conv1.weight is too wide"


def ask(seed: int = 0) -> optuna.Trial:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()


def test_the_sampler_chooses_among_the_weights_that_fit() -> None:
    chooser = InitialWeightsChooser(("random", "teacher"), only_narrow)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(20)]
    chosen = {chooser.choose(trial, NARROW).initial_weights for trial in trials}
    assert chosen == {"random", "teacher"}
    assert all(chooser.choose(trial, NARROW).initial_weights == trial.params["initial_weights"] for trial in trials)


def test_a_single_choice_needs_no_suggestion() -> None:
    trial = ask()
    assert InitialWeightsChooser(("random", "teacher"), only_narrow).choose(trial, WIDE).initial_weights == "random"
    assert InitialWeightsChooser(("teacher",), only_narrow).choose(trial, NARROW).initial_weights == "teacher"
    assert trial.params == {}


def test_each_set_of_choices_has_its_own_parameter_in_one_study() -> None:
    fits = {WIDE.network_id: {"random", RUN}, NARROW.network_id: {"random", "teacher", RUN}}
    chooser = InitialWeightsChooser(
        ("random", "teacher", RUN), lambda spec, start: None if start in fits[spec.network_id] else "does not fit"
    )
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=2))
    for number in range(12):
        trial = study.ask()
        spec = chooser.choose(trial, WIDE if number % 2 else NARROW)
        (name,) = trial.params
        assert name == ("initial_weights_random_run0" if number % 2 else "initial_weights")
        assert spec.initial_weights in fits[spec.network_id]
        study.tell(trial, float(number))


def test_weights_that_the_space_fixed_are_kept_if_they_fit() -> None:
    chooser, trial = InitialWeightsChooser(("random",), only_narrow), ask()
    fixed = NARROW.model_copy(update={"initial_weights": "teacher"})
    assert chooser.choose(trial, fixed) == fixed
    assert trial.params == {}
    with pytest.raises(UnfitWeightsError) as caught:
        chooser.choose(trial, WIDE.model_copy(update={"initial_weights": "teacher"}))
    assert (caught.value.code, caught.value.field) == ("space.initial_weights_unfit", "candidate small_resnet")
    assert "conv1.weight" in str(caught.value)


def test_a_candidate_that_no_allowed_weights_fit_is_an_error() -> None:
    with pytest.raises(UnfitWeightsError) as caught:
        InitialWeightsChooser(("teacher",), only_narrow).choose(ask(), WIDE)
    assert caught.value.code == "space.initial_weights_unfit"
    assert "conv1.weight" in str(caught.value)


def test_whether_weights_fit_is_checked_once_per_network() -> None:
    asked: list[tuple[str, str]] = []

    def noted(spec: StudentSpec, initial_weights: str) -> str | None:
        asked.append((spec.network_id, initial_weights))
        return None

    chooser = InitialWeightsChooser(("random", "teacher"), noted)
    for seed in range(5):
        chooser.choose(ask(seed), NARROW)
        chooser.choose(ask(seed), NARROW.model_copy(update={"initial_weights": "teacher"}))
    assert sorted(asked) == [(NARROW.network_id, "random"), (NARROW.network_id, "teacher")]
