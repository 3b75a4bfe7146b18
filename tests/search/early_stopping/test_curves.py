"""Early stopping by learning curves."""

from __future__ import annotations

import math

import pytest

from nas_distill.config import AshaConfig
from nas_distill.errors import ConfigError
from nas_distill.objectives import check_objectives
from nas_distill.records import Cost, EpochMetrics
from nas_distill.search.early_stopping.curves import coordinates_at, describe_early_stopping, make_early_stopper

OBJECTIVES = check_objectives(("gap_points", "num_params"))
COST = Cost(num_params=1000, macs=0, size_bytes=4000)


def point(epoch: int, gap: float | None = 2.0) -> EpochMetrics:
    return EpochMetrics(
        epoch=epoch, train_loss=1.0, loss_parts={}, learning_rate=0.1, top1=0.9, nll_nats=0.3, gap_points=gap,
        agreement=0.75, divergence_nats=0.1, wall_time_s=1.0,
    )  # fmt: skip


def test_coordinates_are_minimised_and_costs_are_logarithms() -> None:
    objectives = check_objectives(("agreement", "num_params", "macs", "gap_points"))
    assert coordinates_at(point(1), COST, objectives) == (-0.75, 3.0, 0.0, 2.0)
    assert math.isnan(coordinates_at(point(1, None), COST, OBJECTIVES)[0])


def test_a_trial_is_stopped_only_at_a_rung_where_it_is_weak() -> None:
    stopper = make_early_stopper(AshaConfig(startup_trials=0), epochs=30, objectives=OBJECTIVES)
    assert stopper is not None
    assert stopper.rungs == (3, 10)
    stopper.record(0, COST, [point(epoch) for epoch in range(1, 5)])
    assert stopper.should_stop(1, COST, point(3, gap=2.5))
    assert not stopper.should_stop(1, COST, point(4, gap=2.5))  # not a rung
    assert not stopper.should_stop(2, COST, point(3, gap=1.5))


@pytest.mark.parametrize("settings", [AshaConfig(rule="none"), AshaConfig(grace_epochs=11)])
def test_without_a_rule_or_a_rung_there_is_no_early_stopper(settings: AshaConfig) -> None:
    assert make_early_stopper(settings, epochs=30, objectives=OBJECTIVES) is None


def test_the_early_stopper_follows_the_settings() -> None:
    settings = AshaConfig(rungs=(5, 6), rule="residual", reduction_factor=2.0, startup_trials=3)
    stopper = make_early_stopper(settings, epochs=30, objectives=OBJECTIVES)
    assert stopper is not None
    assert stopper.rungs == (5, 6)
    assert describe_early_stopping(stopper, settings, epochs=30) == (
        "weak trials are stopped after epochs 5 and 6 of 30 by rule 'residual': at each rung, the first 3 trials "
        "continue, and about one in 2 continues after them"
    )
    assert [stopper.should_stop(number, COST, point(5, gap=number)) for number in range(4)] == [False] * 3 + [True]
    assert describe_early_stopping(None, AshaConfig(), epochs=1).startswith(
        "no trial is stopped early: 1 epoch leaves no"
    )


def test_a_rule_that_cannot_compare_the_objectives_is_rejected() -> None:
    with pytest.raises(ConfigError) as caught:
        make_early_stopper(
            AshaConfig(rule="residual"), epochs=30, objectives=check_objectives(("gap_points", "num_params", "macs"))
        )
    assert (caught.value.code, caught.value.field) == ("search.rule_objectives", "asha.rule")
