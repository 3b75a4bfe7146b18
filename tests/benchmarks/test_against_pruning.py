"""How `benchmarks.against_pruning` chooses and compares networks."""

from __future__ import annotations

import importlib.util

import pytest

from benchmarks.against_pruning.contenders import FoundNetwork, best_within
from benchmarks.against_pruning.peers import MODULES, PACKAGES, missing_peer
from benchmarks.against_pruning.quality import OURS, top1_within, verdicts, volumes
from nas_distill.records import Cost

TEACHER = Cost(num_params=1000, macs=10_000, size_bytes=4000)


def network(num_params: int, validation: float, test: float, macs: int = 100) -> FoundNetwork:
    return FoundNetwork(num_params=num_params, macs=macs, validation_top1=validation, test_top1=test, epochs=1)


def test_the_network_of_a_budget_is_chosen_on_validation_and_reported_on_test() -> None:
    found = [network(600, 0.99, 0.99), network(500, 0.90, 0.80), network(300, 0.95, 0.70), network(200, 0.95, 0.60)]
    assert best_within(found, "num_params", 500) == found[3]
    assert best_within(found, "num_params", 100) is None
    assert top1_within({7: found}, "num_params", 0.5, TEACHER) == {7: 60.0}
    assert top1_within({7: found}, "macs", 0.001, TEACHER) == {}


def test_networks_beaten_on_validation_add_nothing_to_the_volume() -> None:
    kept = [network(100, 0.9, 0.9)]
    lucky = [*kept, network(200, 0.9, 1.0)]
    better = [*kept, network(200, 0.95, 1.0)]
    volume = volumes({0: kept, 1: lucky, 2: better}, "num_params", TEACHER)
    # 10 % of the teacher is half of the logarithmic axis from 1 to 100 %, and an error of 10 % leaves 4 of 5 parts.
    assert volume[0] == pytest.approx(0.5 * 0.8)
    assert volume[1] == volume[0]
    assert volume[2] > volume[0]
    assert volumes({0: []}, "macs", TEACHER) == {0: 0.0}


def test_a_target_is_missed_only_beyond_the_interval() -> None:
    ours = {seed: [network(500, 0.9, test)] for seed, test in enumerate((0.80, 0.90))}
    level = {seed: [network(500, 0.9, test)] for seed, test in enumerate((0.85, 0.86))}
    better = {seed: [network(500, 0.9, test)] for seed, test in enumerate((0.90, 1.00))}
    within = verdicts("num_params", (0.5,), TEACHER, {OURS: ours, "peer": level})
    assert within[0].met
    beyond = verdicts("num_params", (0.5,), TEACHER, {OURS: ours, "peer": better})
    assert [verdict.met for verdict in beyond] == [False, False]
    single = verdicts("num_params", (0.5,), TEACHER, {OURS: {0: ours[0]}, "peer": {0: better[0]}})
    assert [verdict.met for verdict in single] == [None, None]


def test_a_peer_that_is_not_installed_is_named_with_its_package() -> None:
    for peer, module in MODULES.items():
        reason = missing_peer(peer)
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            assert reason is not None
            assert PACKAGES[peer] in reason
            assert "\n" not in reason
        else:
            assert reason is None
