"""Proposals that become tasks, and those that are rejected."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from optuna import TrialPruned
from optuna.trial import TrialState

from nas_distill.errors import SpaceError
from nas_distill.records import Recipe, SpaceTrial, StudentSpec
from nas_distill.search.proposal.initial_weights import InitialWeightsChooser
from nas_distill.search.proposal.limits import Limits
from nas_distill.search.proposal.proposer import ExhaustedSpaceError, _draw_at_random
from tests.helpers import make_task
from tests.search.proposal.proposing import make_proposer, widths

STUBBORN = """
from optuna.samplers import RandomSampler

class Largest(RandomSampler):
    def sample_independent(self, study, trial, name, distribution):
        return distribution.high
"""


def test_tasks_stay_within_the_limits(tmp_path: Path) -> None:
    limits = Limits(max_params=3000, max_macs=100_000)
    proposer, ledger = make_proposer(tmp_path, widths, limits=limits)
    for _ in range(4):
        cost = proposer.next().cost
        assert cost.num_params <= 3000
        assert cost.macs <= 100_000
    assert proposer.rejected == ledger.rejected()


def test_random_draws_help_a_sampler_that_proposes_nothing_within_the_limits(tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    limits = Limits(max_params=3000)
    proposer, _ = make_proposer(tmp_path, widths, limits=limits, sampler=f"{tmp_path / 'stubborn.py'}:Largest")
    assert all(proposer.next().cost.num_params <= 3000 for _ in range(3))


@pytest.mark.parametrize(
    ("rejected", "at_random"),
    [
        ({"over a limit": 9}, False),
        ({"over a limit": 10}, True),
        ({"over a limit": 11}, False),
        ({"over a limit": 5, "repeated": 5, "unbuildable": 1}, False),
        ({"over a limit": 5, "repeated": 6}, True),
        ({"repeated": 9}, False),
        ({"repeated": 11}, True),
    ],
)
def test_random_draws_alternate_with_the_sampler_unless_most_proposals_repeat(
    rejected: dict[str, int], at_random: bool
) -> None:
    assert _draw_at_random(Counter(rejected)) is at_random


def test_a_candidate_is_not_proposed_twice(tmp_path: Path) -> None:
    proposer, _ = make_proposer(tmp_path, widths, max_rejections=500)
    specs = [proposer.next().spec.spec_id for _ in range(20)]
    assert len(set(specs)) == 20
    assert proposer.rejected > 0


def test_candidates_of_earlier_sessions_count_as_known(tmp_path: Path) -> None:
    only = StudentSpec(architecture="small_resnet", arguments={"widths": (4, 4), "depths": (1, 1)})
    known = make_task(spec=only.model_copy(update={"initial_weights": "random"}), recipe=Recipe())
    proposer, _ = make_proposer(tmp_path, lambda trial: only, known=(known,), max_rejections=3)
    with pytest.raises(ExhaustedSpaceError) as caught:
        proposer.next()
    assert caught.value.code == "space.exhausted"
    assert proposer.rejected == 3


def test_a_candidate_may_repeat_with_another_recipe(tmp_path: Path) -> None:
    only = StudentSpec(architecture="small_resnet", arguments={"widths": (4, 4), "depths": (1, 1)})
    proposer, ledger = make_proposer(tmp_path, lambda trial: only, recipes="search")
    tasks = [proposer.next() for _ in range(12)]
    assert len({task.recipe.digest() for task in tasks}) == 12
    assert len({next(iter(task.recipe.losses), "none") for task in tasks}) > 2
    assert [task.recipe for task in ledger.assigned()] == [task.recipe for task in tasks]


def test_a_space_without_a_feasible_candidate_is_an_error(tmp_path: Path) -> None:
    limits = Limits(max_params=10)
    proposer, ledger = make_proposer(tmp_path, widths, limits=limits, max_rejections=5)
    with pytest.raises(SpaceError) as caught:
        proposer.next()
    assert (caught.value.code, caught.value.field) == ("space.no_candidate", "space.name")
    assert "--max-params" in str(caught.value)
    assert proposer.rejected == ledger.rejected() == 5
    assert ledger.unfinished() == []


def test_unbuildable_candidates_are_rejected(tmp_path: Path) -> None:
    def often_bad(trial: SpaceTrial) -> StudentSpec:
        depths = (1, 1) if trial.suggest_categorical("good", [True, False]) else (1,)
        return StudentSpec(
            architecture="small_resnet",
            arguments={"widths": (trial.suggest_int("width", 2, 200), 8), "depths": depths},
        )

    proposer, _ = make_proposer(tmp_path, often_bad)
    assert [len(proposer.next().spec.keyword_arguments()["depths"]) for _ in range(6)] == [2] * 6
    assert proposer.rejected > 0


def test_a_space_that_raises_leaves_no_trial_running(tmp_path: Path) -> None:
    def broken(trial: SpaceTrial) -> StudentSpec:
        trial.suggest_int("x", 0, 3)
        raise ZeroDivisionError("my own mistake")

    proposer, ledger = make_proposer(tmp_path, broken)
    with pytest.raises(SpaceError) as caught:
        proposer.next()
    assert caught.value.code == "space.raised"
    assert ledger.unfinished() == []


def test_a_candidate_that_its_space_prunes_is_rejected(tmp_path: Path) -> None:
    def choosy(trial: SpaceTrial) -> StudentSpec:
        spec = widths(trial)
        if trial.params["width"] > 10:
            raise TrialPruned("too wide for me")
        return spec

    proposer, ledger = make_proposer(tmp_path, choosy, max_rejections=200)
    assigned = {proposer.next().number for _ in range(6)}
    pruned = [trial for trial in ledger._trials() if trial.number not in assigned]
    assert proposer.rejected == ledger.rejected() == len(pruned) > 0
    reasons = {trial.user_attrs["rejection"] for trial in pruned if trial.params["width"] > 10}
    assert reasons == {"the space pruned it"}
    assert {trial.state for trial in pruned if trial.constraints} == {TrialState.PRUNED}


def test_a_space_that_prunes_everything_has_no_candidate(tmp_path: Path) -> None:
    def nothing(trial: SpaceTrial) -> StudentSpec:
        trial.suggest_int("x", 0, 3)
        raise TrialPruned

    proposer, _ = make_proposer(tmp_path, nothing, max_rejections=3)
    with pytest.raises(SpaceError) as caught:
        proposer.next()
    assert caught.value.code == "space.no_candidate"


def test_seeds_differ_between_trials_and_repeat_between_searches(tmp_path: Path) -> None:
    seeds = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        proposer, _ = make_proposer(tmp_path / name, widths)
        seeds.append([proposer.next().seed for _ in range(3)])
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 3


def test_every_candidate_of_a_small_space_is_proposed(tmp_path: Path) -> None:
    def eight(trial: SpaceTrial) -> StudentSpec:
        return StudentSpec(
            architecture="small_resnet",
            arguments={"widths": (trial.suggest_int("width", 4, 11), 8), "depths": (1, 1)},
        )

    proposer, _ = make_proposer(tmp_path, eight, max_rejections=60)
    widths_seen = {proposer.next().spec.keyword_arguments()["widths"][0] for _ in range(8)}
    assert widths_seen == set(range(4, 12))
    with pytest.raises(ExhaustedSpaceError):
        proposer.next()


def test_a_candidate_is_trained_once_from_each_of_its_initial_weights(tmp_path: Path) -> None:
    only = StudentSpec(architecture="small_resnet", arguments={"widths": (4, 4), "depths": (1, 1)})
    chooser = InitialWeightsChooser(("random", "teacher"), lambda spec, initial_weights: None)
    proposer, ledger = make_proposer(tmp_path, lambda trial: only, initial_weights=chooser, max_rejections=30)
    tasks = [proposer.next(), proposer.next()]
    assert {task.spec.initial_weights for task in tasks} == {"random", "teacher"}
    assert len({task.cost for task in tasks}) == 1
    with pytest.raises(ExhaustedSpaceError):
        proposer.next()
    assert [task.spec for task in ledger.unfinished()] == [task.spec for task in tasks]


def test_a_candidate_without_fitting_initial_weights_is_rejected_with_the_reason(tmp_path: Path) -> None:
    def narrow(spec: StudentSpec, initial_weights: str) -> str | None:
        (width, _) = spec.arguments["widths"]
        return None if width < 12 else f"conv1.weight has {width} channels"

    chooser = InitialWeightsChooser(("teacher",), narrow)
    proposer, ledger = make_proposer(tmp_path, widths, initial_weights=chooser)
    assigned = [proposer.next() for _ in range(4)]
    assert {task.spec.initial_weights for task in assigned} == {"teacher"}
    rejected = [trial for trial in ledger._trials() if "rejection" in trial.user_attrs and trial.params["width"] >= 12]
    assert {trial.state for trial in rejected} == {TrialState.PRUNED}
    assert all("conv1.weight" in trial.user_attrs["rejection"] for trial in rejected)


def test_the_recipe_follows_the_initial_weights(tmp_path: Path) -> None:
    chooser = InitialWeightsChooser(("random", "teacher"), lambda spec, initial_weights: None)
    proposer, ledger = make_proposer(tmp_path, widths, initial_weights=chooser, recipes="search")
    tasks = [proposer.next() for _ in range(12)]
    params = {trial.number: trial.params for trial in ledger._trials()}
    assert {task.spec.initial_weights for task in tasks} == {"random", "teacher"}
    for task in tasks:
        fine_tuned = task.spec.initial_weights == "teacher"
        assert ("cut_rate_factor" in params[task.number]) == fine_tuned
        assert ("learning_rate_factor" in params[task.number]) != fine_tuned
        if fine_tuned:
            assert task.recipe.learning_rate == Recipe().learning_rate
            assert task.recipe.fine_tuning_rate_share == params[task.number]["cut_rate_factor"]
