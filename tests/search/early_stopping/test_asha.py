"""Decisions of early stopping: properties of every rule, for any reports in any order."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nas_distill.analysis.front.arithmetic import Floats, hypervolume, non_dominated_mask
from nas_distill.errors import ConfigError
from nas_distill.objectives import check_objectives
from nas_distill.search.early_stopping.asha import Asha, Decision, rung_epochs
from nas_distill.search.early_stopping.rules import (
    RULES,
    RuleRegistry,
    RungOrder,
    _largest_area_first,
    _lazily_largest_first,
    typical_quality,
)

TWO = check_objectives(("gap_points", "num_params"))
THREE = check_objectives(("num_params", "agreement", "macs"))
ORDERS = {name: RULES.order(name, TWO) for name in RULES.names()}
patient = settings(deadline=None, max_examples=60)
every_rule = pytest.mark.parametrize("rule", RULES.names())

gaps = st.integers(-40, 400).map(lambda eighths: eighths / 8.0)
log_sizes = st.integers(48, 96).map(lambda sixteenths: sixteenths / 16.0)
rungs = st.lists(st.tuples(gaps, log_sizes), min_size=1, max_size=30).map(np.array)


def better_than(order: RungOrder, values: Floats) -> list[int]:
    return [order(values, index, len(values)) for index in range(len(values))]


def dominates(one: Floats, other: Floats) -> bool:
    return bool((one <= other).all() and (one < other).any())


def quality_alone(values: Floats, index: int, enough: int) -> int:
    """The rule of scalar ASHA on the capacity gap."""
    return int((values[:, 0] < values[index, 0]).sum())


def arrivals(count: int, seed: int, *, noise: float = 4.0) -> Floats:
    """Return gaps that fall with the logarithm of the size, in random order."""
    generator = np.random.default_rng(seed)
    sizes = generator.uniform(3.0, 6.0, count)
    return np.column_stack((60.0 - 9.0 * sizes + generator.normal(0.0, noise, count), sizes))


def decisions(rule: RungOrder, values: Floats, factor: float = 3.0) -> list[bool]:
    """Return whether each trial continues, in order of arrival."""
    asha = Asha((1,), factor, rule)
    return [asha.report(number, 1, row) is Decision.CONTINUE for number, row in enumerate(values)]


@every_rule
@patient
@given(values=rungs)
def test_no_trial_is_worse_than_one_that_it_dominates(rule: str, values: Floats) -> None:
    better = better_than(ORDERS[rule], values)
    for i, one in enumerate(values):
        for j, other in enumerate(values):
            if dominates(one, other):
                assert better[i] <= better[j]


@pytest.mark.parametrize("rule", ["layers", "volume"])
@patient
@given(values=arrays(np.float64, st.tuples(st.integers(1, 25), st.just(3)), elements=st.integers(0, 6).map(float)))
def test_layers_compare_three_objectives(rule: str, values: Floats) -> None:
    better = better_than(RULES.order(rule, THREE), values)
    assert better_than(RULES.order(rule, THREE), values[::-1]) == better[::-1]
    for i, one in enumerate(values):
        for j, other in enumerate(values):
            if dominates(one, other):
                assert better[i] < better[j]


@every_rule
@patient
@given(values=rungs)
def test_equal_entries_are_equal_and_some_entry_is_best(rule: str, values: Floats) -> None:
    better = better_than(ORDERS[rule], np.concatenate((values, values)))
    assert better[: len(values)] == better[len(values) :]
    assert min(better) == 0


@every_rule
@patient
@given(values=rungs, factor=st.sampled_from([1.5, 2.0, 3.0, 4.0]), data=st.data())
def test_the_order_of_earlier_reports_changes_nothing(
    rule: str, values: Floats, factor: float, data: st.DataObject
) -> None:
    others = data.draw(st.permutations(range(len(values) - 1)))
    fates = []
    for order in (range(len(values) - 1), others):
        asha = Asha((1,), factor, ORDERS[rule])
        for number in order:
            asha.record(number, 1, values[number])
        fates.append(asha.report(len(values), 1, values[-1]))
    assert fates[0] is fates[1]


@every_rule
@patient
@given(values=rungs, factor=st.sampled_from([1.5, 2.0, 3.0]), equal=st.integers(2, 4))
def test_equal_reports_have_an_equal_fate_whoever_sends_them(
    rule: str, values: Floats, factor: float, equal: int
) -> None:
    fates = []
    for numbers in (range(equal), reversed(range(equal))):
        asha = Asha((1,), factor, ORDERS[rule])
        for number, row in enumerate(values):
            asha.record(100 + number, 1, row)
        fates.append([asha.report(number, 1, values[0]) for number in numbers])
    assert fates[0] == fates[1]


@every_rule
@patient
@given(values=rungs, scale=st.floats(1e-3, 1e3), shift=st.floats(-1e3, 1e3))
def test_the_gaps_scale_and_origin_change_nothing(rule: str, values: Floats, scale: float, shift: float) -> None:
    moved = values * [scale, 1.0] + [shift, 0.0]
    assert better_than(ORDERS[rule], moved) == better_than(ORDERS[rule], values)


@every_rule
@pytest.mark.parametrize("factor", [2.0, 3.0, 4.0])
def test_one_in_reduction_factor_continues_as_the_last_of_many(rule: str, factor: float) -> None:
    values = arrivals(600, 0)
    better = np.array(better_than(ORDERS[rule], values))
    # In random order each trial is equally likely to be the last. Medians tie at a residual of 0.
    assert np.mean(better < math.ceil(600 / factor)) == pytest.approx(1.0 / factor, abs=0.04)


@every_rule
def test_one_in_reduction_factor_continues_one_after_another(rule: str) -> None:
    shares = [np.mean(decisions(ORDERS[rule], arrivals(300, seed))[50:]) for seed in range(6)]
    assert np.mean(shares) == pytest.approx(1.0 / 3.0, abs=0.06)


@every_rule
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_trial_with_a_value_that_is_not_finite_is_stopped_and_not_recorded(rule: str, bad: float) -> None:
    asha = Asha((1, 3), 3.0, ORDERS[rule])
    assert asha.report(0, 1, (bad, 4.0)) is Decision.STOP
    asha.record(1, 1, (bad, 4.0))
    assert asha.entries(1) == {}
    assert asha.report(0, 2, (bad, 4.0)) is Decision.CONTINUE


@every_rule
def test_ending_the_count_early_changes_no_decision(rule: str) -> None:
    values = arrivals(150, 3)
    for index, better in enumerate(better_than(ORDERS[rule], values)):
        for enough in (1, 10, 50):
            assert (ORDERS[rule](values, index, enough) < enough) == (better < enough)


@pytest.mark.parametrize("rule", ["layers", "residual"])
def test_small_students_are_not_starved(rule: str) -> None:
    def share_of_small_that_continue(order: RungOrder) -> float:
        shares = []
        for seed in range(5):
            values = arrivals(150, seed)
            shares.append(np.mean(np.array(decisions(order, values))[values[:, 1] < 4.0]))
        return float(np.mean(shares))

    assert share_of_small_that_continue(quality_alone) < 0.05
    assert share_of_small_that_continue(ORDERS[rule]) > 0.2


@pytest.mark.parametrize("rule", ["layers", "volume"])
def test_trials_chosen_within_a_layer_are_spread_out(rule: str) -> None:
    sizes = np.linspace(3.0, 6.0, 31)
    values = np.column_stack((40.0 / sizes, sizes))  # a single layer
    chosen = sizes[np.array(better_than(ORDERS[rule], values)) < 6]
    assert all(high - low > 0.25 for low, high in pairwise(np.sort(chosen)))
    assert chosen.min() < 3.6
    assert chosen.max() > 5.4


def test_the_first_trial_continues_and_a_worse_second_does_not() -> None:
    asha = Asha((1, 3), 3.0, ORDERS["layers"])
    assert asha.report(0, 1, (10.0, 5.0)) is Decision.CONTINUE
    assert asha.report(1, 1, (12.0, 5.5)) is Decision.STOP
    assert asha.report(2, 2, (99.0, 9.0)) is Decision.CONTINUE  # not a rung
    assert asha.report(3, 3, (99.0, 9.0)) is Decision.CONTINUE  # the first at another rung


@patient
@given(values=rungs, startup=st.integers(0, 8))
def test_startup_trials_continue_and_later_decisions_are_the_same(values: Floats, startup: int) -> None:
    asha = Asha((1,), 3.0, ORDERS["volume"], startup_trials=startup)
    found = [asha.report(number, 1, row) is Decision.CONTINUE for number, row in enumerate(values)]
    assert all(found[:startup])
    assert found[startup:] == decisions(ORDERS["volume"], values)[startup:]


def test_a_value_that_is_not_finite_is_no_startup_trial() -> None:
    asha = Asha((1,), 3.0, ORDERS["layers"], startup_trials=2)
    assert asha.report(0, 1, (math.nan, 5.0)) is Decision.STOP
    assert asha.report(1, 1, (10.0, 5.0)) is asha.report(2, 1, (99.0, 6.0)) is Decision.CONTINUE
    assert asha.report(3, 1, (99.5, 6.5)) is Decision.STOP


def test_a_second_report_at_a_rung_is_ignored() -> None:
    asha = Asha((1,), 2.0, ORDERS["layers"])
    asha.report(0, 1, (10.0, 5.0))
    assert asha.report(0, 1, (99.0, 5.0)) is Decision.CONTINUE
    asha.record(0, 1, (98.0, 5.0))
    assert asha.entries(1) == {0: (10.0, 5.0)}
    assert asha.entries(2) == {}


def test_recorded_reports_count_in_later_decisions() -> None:
    asha = Asha((1,), 3.0, ORDERS["layers"])
    asha.record(7, 1, (10.0, 5.0))
    assert asha.report(0, 1, (11.0, 5.0)) is Decision.STOP


@pytest.mark.parametrize(
    ("epochs", "factor", "grace", "expected"),
    [
        (27, 3.0, 1, (1, 3, 9)),
        (30, 3.0, None, (3, 10)),
        (12, 3.0, None, (4,)),
        (2, 3.0, None, (1,)),
        (1, 3.0, None, ()),
        (10, 1.5, 3, (3, 4, 7)),
        (10, 3.0, 4, ()),
        (3, 1.05, 1, (1, 2)),
    ],
)
def test_rungs_follow_from_the_number_of_epochs(
    epochs: int, factor: float, grace: int | None, expected: tuple[int, ...]
) -> None:
    assert rung_epochs(epochs, reduction_factor=factor, grace_epochs=grace) == expected


@patient
@given(epochs=st.integers(1, 400), factor=st.floats(1.1, 5.0), grace=st.integers(1, 40))
def test_rungs_ascend_between_the_grace_period_and_the_last_epoch(epochs: int, factor: float, grace: int) -> None:
    found = rung_epochs(epochs, reduction_factor=factor, grace_epochs=grace)
    assert list(found) == sorted(set(found))
    assert all(grace <= epoch < epochs for epoch in found)


@pytest.mark.parametrize("rungs", [(0, 1), (3, 1), (1, 1)])
def test_rungs_must_ascend(rungs: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(str(rungs))):
        Asha(rungs, 3.0, quality_alone)


@pytest.mark.parametrize("factor", [1.0, 0.5, math.nan])
def test_the_reduction_factor_must_be_above_1(factor: float) -> None:
    with pytest.raises(ValueError, match=str(factor)):
        Asha((1,), factor, quality_alone)


def test_an_unknown_rule_is_rejected() -> None:
    with pytest.raises(ConfigError) as caught:
        RULES.order("layer", TWO)
    assert (caught.value.code, caught.value.field) == ("search.unknown_rule", "asha.rule")


def test_a_rule_for_two_objectives_rejects_three() -> None:
    with pytest.raises(ConfigError) as caught:
        RULES.order("residual", THREE)
    assert (caught.value.code, caught.value.field) == ("search.rule_objectives", "asha.rule")


@patient
@given(values=rungs)
def test_both_greedy_volume_orders_cover_the_same_volumes(values: Floats) -> None:
    layer = np.unique(values[non_dominated_mask(values)], axis=0)
    scaled = np.round((layer - layer.min(axis=0)) / np.maximum(np.ptp(layer, axis=0), 1e-9), 9)
    fast, general = list(_largest_area_first(scaled)), list(_lazily_largest_first(scaled))
    corner = np.full(2, 1.1)
    prefixes = range(1, len(layer) + 1)
    volumes = [[hypervolume(scaled[order[:count]], corner) for count in prefixes] for order in (fast, general)]
    assert volumes[0] == pytest.approx(volumes[1])


@pytest.mark.parametrize("name", ["layers", "none"])
def test_a_name_cannot_be_registered_twice(name: str) -> None:
    registry = RuleRegistry()
    registry.register("layers", lambda objectives: quality_alone)
    with pytest.raises(ValueError, match=f"'{name}'"):
        registry.register(name, lambda objectives: quality_alone)


@patient
@given(values=rungs)
def test_typical_quality_never_rises_with_cost(values: Floats) -> None:
    typical = typical_quality(values[:, 1], values[:, 0])
    order = np.argsort(values[:, 1], kind="stable")
    assert (np.diff(typical[order]) <= 0.0).all()
    same = np.diff(values[order, 1]) == 0.0
    assert (np.diff(typical[order])[same] == 0.0).all()


def test_typical_quality_follows_a_line_to_its_ends_and_ignores_outliers() -> None:
    sizes = np.linspace(3.0, 6.0, 40)
    line = 60.0 - 9.0 * sizes
    with_outliers = line.copy()
    with_outliers[[5, 20, 33]] = 90.0
    assert typical_quality(sizes, line) == pytest.approx(line, abs=0.3)
    assert typical_quality(sizes, with_outliers) == pytest.approx(line, abs=1.5)
