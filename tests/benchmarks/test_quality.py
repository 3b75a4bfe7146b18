from __future__ import annotations

import math

import pytest

from benchmarks.search_quality.curve_table import CurveTable
from benchmarks.search_quality.quality import SYNTHETIC, Job, Score, simulate
from benchmarks.search_quality.rung_ranks import neighbour_correlation, rank_correlations, seed_correlation
from benchmarks.search_quality.synthetic import synthetic_table
from tests.benchmarks.tables import EPOCHS, make_row

STEPS = ((10, 0.2), (40, 0.5), (90, 0.6))


def score(steps: tuple[tuple[int, float], ...] = STEPS) -> Score:
    return Score(budget=100, spent=100, started=9, complete=3, exhausted=False, steps=steps)


@pytest.mark.parametrize(("share", "value"), [(0.05, 0.0), (0.1, 0.2), (0.25, 0.2), (0.5, 0.5), (1.0, 0.6)])
def test_the_hypervolume_counts_students_finished_within_a_share_of_the_budget(share: float, value: float) -> None:
    assert score().at(share) == value


def test_the_share_to_reach_a_hypervolume_is_infinite_if_it_is_not_reached() -> None:
    assert score().needed(0.5) == pytest.approx(0.4)
    assert score().needed(0.45) == pytest.approx(0.4)
    assert math.isinf(score().needed(0.7))


@pytest.mark.parametrize("contender", ["ours", "random", "Optuna NSGA-II"])
def test_a_simulated_search_scores_the_same_twice(contender: str) -> None:
    job = Job(
        table=SYNTHETIC, table_id="", commit="abc", contender=contender, seed=3, workers=4, budget_share=0.15,
        objectives=("gap_points", "num_params"),
    )  # fmt: skip
    first, second = simulate(job, None), simulate(job, None)
    assert first == second
    values = [value for _, value in first.steps]
    assert values == sorted(values)
    assert 0.0 < values[-1] <= 1.0
    assert first.spent == first.budget
    assert all(spent <= first.budget for spent, _ in first.steps)


def test_rank_correlations_are_one_at_the_last_epoch_and_lower_before() -> None:
    table = synthetic_table(candidates=40, epochs=9, second_seed=12)
    (early, last), averaging, trained = rank_correlations(table, (1, 9))
    assert (last.averaged, last.raw, last.everything) == pytest.approx((1.0, 1.0, 1.0), rel=1e-12)
    assert early.averaged < 1.0
    assert last.raw_to_averaged < 1.0
    assert 0 < averaging < trained == 40
    ceiling, pairs = seed_correlation(table)
    assert pairs == 12
    assert 0.0 < neighbour_correlation(table) < 1.0
    assert 0.0 < ceiling <= 1.0


def test_candidates_with_one_seed_are_not_compared() -> None:
    table = CurveTable(rows=(make_row(0), make_row(1)), provenance={"epochs": EPOCHS})
    assert seed_correlation(table)[1] == 0
