from __future__ import annotations

import dataclasses
import itertools

import pytest

from nas_distill.analysis.trials.columns import COLUMNS
from nas_distill.errors import ConfigError
from nas_distill.objectives import (
    AFTER_TRAINING,
    OBJECTIVES,
    Objective,
    check_objectives,
    get_objective,
    register_objective,
)
from nas_distill.records import Cost, StudentMetrics

QUALITIES = [name for name, objective in OBJECTIVES.items() if objective.kind == "quality"]
COSTS = [name for name, objective in OBJECTIVES.items() if objective.kind == "cost"]


def test_every_objective_is_a_column_of_a_record() -> None:
    for name, objective in OBJECTIVES.items():
        assert objective.name == name
        record = StudentMetrics if objective.kind == "quality" else Cost
        assert name in COLUMNS if name in AFTER_TRAINING else name in record.model_fields
        assert objective.label


def test_sizes_are_compared_by_ratio() -> None:
    assert {OBJECTIVES[name].scale for name in COSTS} == {"log10"}
    assert {OBJECTIVES[name].scale for name in QUALITIES} == {"linear"}


def test_maximised_objectives_are_negated() -> None:
    maximised = [name for name, objective in OBJECTIVES.items() if objective.minimised(1.0) == -1.0]
    assert maximised == ["agreement", "throughput_per_s"]
    for objective in OBJECTIVES.values():
        assert (objective.minimised(0.9) < objective.minimised(0.1)) == (objective.direction == "maximize")


def test_wrong_objectives_are_rejected_by_rule() -> None:
    cases = {
        (): "config.objective_count",
        ("gap_points",): "config.objective_count",
        ("gap_points", "nll_nats", "macs", "num_params", "size_bytes"): "config.objective_count",
        ("gap_points", "macs", "macs"): "config.repeated_objective",
        ("accuracy", "macs"): "config.unknown_objective",
    }
    for names, code in cases.items():
        with pytest.raises(ConfigError) as caught:
            check_objectives(names)
        assert (caught.value.code, caught.value.field) == (code, "objectives"), names
    with pytest.raises(ConfigError) as single:
        check_objectives("gap_points")
    assert single.value.code == "config.objective_count"


def test_an_unknown_objective_names_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        get_objective("num_param")
    assert "'num_params'" in str(caught.value)


def test_two_to_four_objectives_need_a_quality_and_a_cost() -> None:
    for count in (2, 3, 4):
        for names in itertools.permutations(OBJECTIVES, count):
            if set(names) & set(QUALITIES) and set(names) & set(COSTS):
                assert tuple(objective.name for objective in check_objectives(names)) == names
            else:
                with pytest.raises(ConfigError) as caught:
                    check_objectives(names)
                assert caught.value.code == "config.no_trade_off"


def test_a_name_is_registered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas_distill.objectives.OBJECTIVES", dict(OBJECTIVES))
    top1 = Objective(name="top1", kind="quality", direction="maximize", scale="linear", unit="", label="Top-1")
    register_objective(top1)
    register_objective(top1)  # a plugin that is imported twice
    assert check_objectives(("top1", "macs"))[0] == top1
    with pytest.raises(ValueError, match="top1"):
        register_objective(dataclasses.replace(top1, direction="minimize"))
