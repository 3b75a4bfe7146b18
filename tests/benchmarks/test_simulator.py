from __future__ import annotations

from collections.abc import Sequence

import optuna
import pytest

from benchmarks.search_quality.curve_table import Row, shortened
from benchmarks.search_quality.mapping import RowMap
from benchmarks.search_quality.our_search import OurEarlyStopping, OurSearch, Problem
from benchmarks.search_quality.peers import OptunaSearcher
from benchmarks.search_quality.simulator import (
    EndedTrial,
    Limited,
    NoStopping,
    Proposal,
    Searcher,
    Simulation,
    SimulationResult,
    Stopper,
    draw_rows,
)
from benchmarks.search_quality.synthetic import synthetic_table
from nas_distill.config import AshaConfig
from nas_distill.records import TrialStatus
from tests.benchmarks.tables import EPOCHS, RECIPE, make_cost, make_row, make_spec


class Scripted:
    """Propose candidates in a given order and record finished trials."""

    def __init__(self, candidates: Sequence[int]) -> None:
        self.left = list(candidates)
        self.ended: list[EndedTrial] = []

    def ask(self) -> Proposal | None:
        if not self.left:
            return None
        candidate = self.left.pop(0)
        return Proposal(number=candidate, spec=make_spec(candidate), recipe=RECIPE, cost=make_cost(candidate))

    def tell(self, ended_trial: EndedTrial) -> None:
        self.ended.append(ended_trial)


class StopsAt:
    """Stop given trials at given epochs."""

    def __init__(self, epochs: dict[int, int]) -> None:
        self.epochs = epochs
        self.ended: list[int] = []

    def stops(self, number: int, epoch: int, row: Row) -> bool:
        return self.epochs.get(number) == epoch

    def finished(self, ended_trial: EndedTrial) -> None:
        self.ended.append(ended_trial.number)


def play(
    rows: Sequence[Row],
    searcher: Searcher,
    *,
    stopper: Stopper | None = None,
    workers: int = 2,
    budget: int = 100,
) -> SimulationResult:
    found = tuple(rows)
    return Simulation(
        found, RowMap(found), searcher=searcher, stopper=stopper or NoStopping(), workers=workers, budget=budget
    ).run()


def test_trials_of_asynchronous_workers_end_in_the_order_of_their_durations() -> None:
    rows = [make_row(0, seconds=10.0), make_row(1, seconds=1.0), make_row(2, seconds=2.0), make_row(3, seconds=100.0)]
    searcher = Scripted([0, 1, 2, 3])
    result = play(rows, searcher)
    # Worker A: 0 until 40. Worker B: 1 until 4, 2 until 12, 3 until 412.
    assert [(trial.number, trial.ended_s) for trial in result.trials] == [(1, 4.0), (2, 12.0), (0, 40.0), (3, 412.0)]
    assert searcher.ended == list(result.trials)
    # Trial 0 was in its first epoch when trial 1 ended, and in its second when trial 2 ended.
    assert [trial.spent for trial in result.trials] == [5, 10, 13, 16]


def test_simultaneous_epochs_are_ordered_by_their_start() -> None:
    rows = [make_row(number) for number in range(4)]
    assert [trial.number for trial in play(rows, Scripted([2, 0, 3, 1])).trials] == [2, 0, 3, 1]


def test_a_stopped_trial_frees_its_worker_and_reports_its_last_value() -> None:
    rows = [make_row(0, seconds=5.0), make_row(1), make_row(2)]
    searcher, stopper = Scripted([0, 1, 2]), StopsAt({1: 2})
    result = play(rows, searcher, stopper=stopper)
    first, second, third = result.trials
    assert (first.number, first.status, first.epochs, first.gap_points, first.ended_s) == (
        1, TrialStatus.STOPPED, 2, 30.0, 2.0,
    )  # fmt: skip
    assert (second.number, second.ended_s) == (2, 6.0)
    assert third.number == 0
    assert stopper.ended == [1, 2, 0]
    assert [trial.number for trial in result.complete(100)] == [2, 0]
    assert [trial.number for trial in result.complete(second.spent)] == [2]


def test_the_last_epoch_cannot_be_stopped() -> None:
    (trial,) = play([make_row(0)], Scripted([0]), stopper=StopsAt({0: EPOCHS})).trials
    assert trial.status is TrialStatus.COMPLETE


def test_early_stopping_of_a_recipe_completes_the_trial_with_its_best_epoch() -> None:
    row = make_row(0, gaps=(40.0, 10.0, 20.0, 5.0), patience=1)
    (trial,) = play([row], Scripted([0])).trials
    assert (trial.status, trial.epochs, trial.gap_points) == (TrialStatus.COMPLETE, 3, 10.0)


def test_a_failed_training_costs_one_more_epoch() -> None:
    result = play([make_row(0, gaps=(40.0, 30.0), error="NaN")], Scripted([0]))
    (trial,) = result.trials
    assert (trial.status, trial.epochs, result.spent) == (TrialStatus.FAILED, 3, 3)
    assert not result.complete(100)


def test_a_training_that_fails_in_its_first_epoch_is_a_trial() -> None:
    (trial,) = play([make_row(0, gaps=(), error="NaN")], Scripted([0])).trials
    assert (trial.status, trial.epochs) == (TrialStatus.FAILED, 1)


@pytest.mark.parametrize("budget", [1, 3, 4, 7, 11, 16])
def test_the_budget_is_spent_and_not_exceeded(budget: int) -> None:
    rows = [make_row(number, seconds=1.0 + number) for number in range(4)]
    result = play(rows, Scripted([0, 1, 2, 3]), workers=3, budget=budget)
    assert result.spent == budget
    assert all(trial.spent <= budget for trial in result.trials)
    assert sum(trial.epochs for trial in result.trials) <= budget
    assert len(result.complete(budget)) == len(result.trials)


def test_a_row_is_used_once_and_then_the_next_nearest() -> None:
    rows = [make_row(0), make_row(5), make_row(50)]
    result = play(rows, Scripted([5, 5, 5, 5]), workers=1)
    assert [trial.row.candidate for trial in result.trials] == [5, 0, 50]
    assert result.exhausted
    assert result.started == 3


def test_a_searcher_without_proposals_ends_the_simulation() -> None:
    result = play([make_row(0), make_row(1)], Scripted([1]))
    assert [trial.number for trial in result.trials] == [1]
    assert not result.exhausted


@pytest.fixture(scope="module")
def problem() -> Problem:
    return Problem.of(synthetic_table(candidates=40, epochs=9, second_seed=10), ("gap_points", "num_params"))


def replay(
    problem: Problem, searcher: Searcher, stopper: Stopper, *, seed: int = 0, budget: int = 70
) -> SimulationResult:
    return play(draw_rows(problem.table, seed), searcher, stopper=stopper, workers=4, budget=budget)


def outline(result: SimulationResult) -> list[tuple[int, int, int, TrialStatus, float]]:
    return [(trial.number, trial.row.candidate, trial.epochs, trial.status, trial.ended_s) for trial in result.trials]


@pytest.mark.parametrize("rule", ["layers", "volume", "residual"])
def test_our_search_is_reproducible(problem: Problem, rule: str) -> None:
    first, second = (
        replay(problem, OurSearch(problem, seed=1), OurEarlyStopping(problem, AshaConfig(rule=rule, startup_trials=0)))
        for _ in range(2)
    )
    assert outline(first) == outline(second)
    assert first.spent == second.spent == 70
    candidates = [trial.row.candidate for trial in first.trials]
    assert len(set(candidates)) == len(candidates)
    assert {trial.status for trial in first.trials} == {TrialStatus.COMPLETE, TrialStatus.STOPPED}


def test_startup_trials_and_a_limit_on_trials_leave_as_many_students(problem: Problem) -> None:
    limited = Limited(OurSearch(problem, seed=1), 8)
    stopper = OurEarlyStopping(problem, AshaConfig(rungs=(1, 2), startup_trials=6))
    result = replay(problem, limited, stopper, budget=1000)
    assert (result.started, len(result.trials)) == (8, 8)
    assert 6 <= len(result.complete(1000)) < 8


def test_a_shortened_table_keeps_the_last_epoch(problem: Problem) -> None:
    shorter = shortened(problem.table, 3)
    assert shorter.epochs == 3
    for before, after in zip(problem.table.rows, shorter.rows, strict=True):
        assert after.curves["gap_points"].tolist() == before.curves["gap_points"][[2, 5, 8]].tolist()


def test_another_seed_proposes_other_candidates(problem: Problem) -> None:
    first, second = (replay(problem, OurSearch(problem, seed=seed), NoStopping()) for seed in (1, 2))
    assert outline(first) != outline(second)


@pytest.mark.parametrize("stopped_trial_value", ["failed", "reached", "extrapolated"])
def test_every_value_for_stopped_trials_spends_the_budget(problem: Problem, stopped_trial_value: str) -> None:
    searcher = OurSearch(problem, seed=1, stopped_trial_value=stopped_trial_value)  # type: ignore[arg-type]
    assert replay(problem, searcher, OurEarlyStopping(problem, AshaConfig(rule="layers"))).spent == 70


def test_random_search_is_reproducible(problem: Problem) -> None:
    first, second = (
        replay(problem, OptunaSearcher(problem, optuna.samplers.RandomSampler(seed=3)), NoStopping()) for _ in range(2)
    )
    assert outline(first) == outline(second)
    assert first.spent == 70


def test_one_replicate_is_drawn_per_candidate(problem: Problem) -> None:
    draws = [draw_rows(problem.table, seed) for seed in range(8)]
    assert all([row.candidate for row in rows] == list(range(40)) for rows in draws)
    assert {rows[0].replicate for rows in draws} == {0, 1}
    assert {rows[39].replicate for rows in draws} == {0}
