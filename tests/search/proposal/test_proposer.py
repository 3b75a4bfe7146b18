"""Proposals that become tasks, and those that are rejected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna import TrialPruned
from optuna.trial import TrialState

from nas_distill.config import SamplerConfig, SpaceConfig, TeacherConfig
from nas_distill.errors import SpaceError
from nas_distill.models.costs.cost import measure_cost
from nas_distill.models.costs.latency import Latency
from nas_distill.objectives import check_objectives
from nas_distill.records import Cost, Recipe, SpaceTrial, StudentSpec
from nas_distill.records.network_shape import NetworkShape
from nas_distill.records.task import TrialTask
from nas_distill.search.proposal import costs
from nas_distill.search.proposal.costs import CostEstimator
from nas_distill.search.proposal.initial_weights import InitialWeightsChooser
from nas_distill.search.proposal.limits import Limits, make_limits
from nas_distill.search.proposal.proposer import ExhaustedSpaceError, Proposer, _draw_at_random
from nas_distill.search.spaces.loading import Space
from nas_distill.search.spaces.recipes import load_recipe_space, make_choices
from nas_distill.search.study.ledger import StudyLedger
from tests.helpers import make_space_context, make_task

TEACHER = Cost(num_params=10_000, macs=1_000_000, size_bytes=40_000)
SHAPE = NetworkShape(num_classes=10, channels=1, image_size=8)
OPEN = Limits()


def widths(trial: SpaceTrial) -> StudentSpec:
    width = trial.suggest_int("width", 2, 24)
    return StudentSpec(architecture="small_resnet", arguments={"widths": (width, width), "depths": (1, 1)})


STUBBORN = """
from optuna.samplers import RandomSampler

class Largest(RandomSampler):
    def sample_independent(self, study, trial, name, distribution):
        return distribution.high
"""


def make_proposer(
    folder: Path,
    function: Callable[[SpaceTrial], StudentSpec],
    *,
    limits: Limits = OPEN,
    max_rejections: int = 50,
    known: tuple[TrialTask, ...] = (),
    recipes: str = "fixed",
    sampler: str = "tpe",
    initial_weights: InitialWeightsChooser | None = None,
) -> tuple[Proposer, StudyLedger]:
    ledger = StudyLedger(
        f"sqlite:///{folder / 'study.db'}",
        "nas_distill",
        check_objectives(("gap_points", "num_params")),
        0,
        SamplerConfig(name=sampler),
    )
    space = Space(name="mine", function=function, source_path=Path(__file__), doc="")
    proposer = Proposer(
        ledger,
        space=space,
        context=make_space_context(),
        initial_weights=initial_weights or InitialWeightsChooser(),
        limits=limits,
        cost_estimator=CostEstimator(SHAPE),
        recipe=Recipe(),
        recipes=load_recipe_space(recipes),
        choices=make_choices(Recipe(), TeacherConfig()),
        seed=0,
        max_rejections=max_rejections,
        known=known,
    )
    return proposer, ledger


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


def test_students_must_be_smaller_than_the_teacher_by_default() -> None:
    limits = make_limits(SpaceConfig(), TEACHER)
    assert limits.rejection(Cost(num_params=9_999, macs=1, size_bytes=1)) is None
    assert limits.rejection(TEACHER) == "10,000 parameters; the teacher's size allows at most 9,999"
    assert limits.violations(TEACHER)["num_params"] > 0
    assert make_limits(SpaceConfig(allow_larger_than_teacher=True), TEACHER).rejection(TEACHER) is None


def test_the_tighter_bound_on_parameters_applies() -> None:
    assert make_limits(SpaceConfig(max_params=500), TEACHER).max_params == 500
    assert make_limits(SpaceConfig(max_params=10**9), TEACHER).max_params == 9_999
    relaxed = SpaceConfig(max_params=10**9, allow_larger_than_teacher=True)
    assert make_limits(relaxed, TEACHER).max_params == 10**9


def test_students_cost_no_more_multiply_accumulates_than_the_teacher_by_default() -> None:
    limits = make_limits(SpaceConfig(), TEACHER)
    assert limits.max_macs == TEACHER.macs
    assert limits.rejection(Cost(num_params=9_999, macs=TEACHER.macs, size_bytes=1)) is None
    assert limits.rejection(Cost(num_params=9_999, macs=TEACHER.macs + 1, size_bytes=1)) is not None
    assert make_limits(SpaceConfig(max_macs=10), TEACHER).max_macs == 10
    assert make_limits(SpaceConfig(allow_larger_than_teacher=True), TEACHER).max_macs is None
    assert make_limits(SpaceConfig(), TEACHER.model_copy(update={"macs": 0})).max_macs is None


def test_shares_of_the_teacher_are_resolved() -> None:
    shares = SpaceConfig(max_params="10%", max_macs="25%", max_size_bytes="0.5 %")
    limits = make_limits(shares, TEACHER)
    assert (limits.max_params, limits.max_macs, limits.max_size_bytes) == (1_000, 250_000, 200)
    assert limits.describe() == (
        "at most 1,000 parameters (--max-params 10%), 250,000 MACs (--max-macs 25%), 200 bytes (--max-size-bytes 0.5 %)"
    )
    assert make_limits(SpaceConfig(max_params="100%"), TEACHER).max_params == 9_999
    larger = SpaceConfig(max_params="100%", allow_larger_than_teacher=True)
    assert make_limits(larger, TEACHER).max_params == 10_000
    assert Limits().describe() == "no limits"


def test_a_cost_equal_to_its_bound_is_feasible() -> None:
    limits = Limits(max_params=100, max_macs=1000)
    at = limits.violations(Cost(num_params=100, macs=1000, size_bytes=1))
    over = limits.violations(Cost(num_params=101, macs=1001, size_bytes=1))
    assert all(value <= 0 for value in at.values())
    assert all(value > 0 for value in over.values())


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


def test_a_bound_on_bytes_is_respected(tmp_path: Path) -> None:
    limits = Limits(max_size_bytes=9000)
    proposer, ledger = make_proposer(tmp_path, widths, limits=limits)
    assert all(proposer.next().cost.size_bytes <= 9000 for _ in range(3))
    rejected = [row for row in ledger._study.trials if "rejection" in row.user_attrs]
    assert all(row.constraints["size_bytes"] > 0 for row in rejected)
    assert {"size_bytes"} == set(ledger._study.trials[0].constraints)


def test_latency_is_measured_only_if_bounded_and_once_per_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def fake(spec: StudentSpec, **shape: object) -> Latency:
        measured.append(spec.spec_id)
        return Latency(median_ms=float(spec.keyword_arguments()["widths"][0]), iqr_ms=0.25)

    monkeypatch.setattr(costs, "measure_latency", fake)
    (tmp_path / "free").mkdir()
    make_proposer(tmp_path / "free", widths)[0].next()
    assert measured == []
    limits = Limits(max_latency_ms=8.0)
    proposer, ledger = make_proposer(tmp_path, widths, limits=limits, max_rejections=200)
    specs = [proposer.next().spec for _ in range(5)]
    assert all(spec.keyword_arguments()["widths"][0] <= 8 for spec in specs)
    assert len(measured) == len(set(measured))
    rows = ledger._study.trials
    assert all("latency" in row.user_attrs for row in rows)
    assert all(("rejection" in row.user_attrs) == (row.constraints["latency_ms"] > 0) for row in rows)


def test_the_cost_of_a_network_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []

    def count(spec: StudentSpec, **others: Any) -> Cost:
        counted.append(spec.spec_id)
        return measure_cost(spec, **others)

    monkeypatch.setattr(costs, "measure_cost", count)
    cost_estimator = CostEstimator(SHAPE)
    good = StudentSpec(architecture="small_resnet", arguments={"widths": (4, 4), "depths": (1, 1)})
    assert cost_estimator.cost(good, Recipe()) == cost_estimator.cost(good, Recipe(learning_rate=0.1))
    assert counted == [good.spec_id]
    embedding = Recipe(losses={"rkd": {}})  # a loss may compare outputs that the network lacks
    cost_estimator.cost(good, embedding)
    assert counted == 2 * [good.spec_id]


def test_a_latency_bound_that_no_candidate_meets_is_an_error(tmp_path: Path) -> None:
    limits = Limits(max_latency_ms=1e-6)
    proposer, _ = make_proposer(tmp_path, widths, limits=limits, max_rejections=2)
    with pytest.raises(SpaceError) as caught:
        proposer.next()
    assert caught.value.code == "space.no_candidate"
    assert "--max-latency-ms" in str(caught.value)


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
