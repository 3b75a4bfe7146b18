from __future__ import annotations

import itertools

import pytest

from nas_distill.errors import ConfigError
from nas_distill.objectives import OBJECTIVES, check_objectives, get_objective
from nas_distill.records import Cost, StudentMetrics

QUALITIES = [name for name, objective in OBJECTIVES.items() if objective.kind == "quality"]
COSTS = [name for name, objective in OBJECTIVES.items() if objective.kind == "cost"]


def test_every_objective_is_a_column_of_a_record() -> None:
    for name, objective in OBJECTIVES.items():
        assert objective.name == name
        record = StudentMetrics if objective.kind == "quality" else Cost
        assert name in record.model_fields
        assert objective.label


def test_sizes_are_compared_by_ratio() -> None:
    assert {OBJECTIVES[name].scale for name in COSTS} == {"log10"}
    assert {OBJECTIVES[name].scale for name in QUALITIES} == {"linear"}


def test_inside_everything_is_minimised() -> None:
    maximised = [name for name, objective in OBJECTIVES.items() if objective.minimised(1.0) == -1.0]
    assert maximised == ["agreement"]
    for objective in OBJECTIVES.values():
        assert (objective.minimised(0.9) < objective.minimised(0.1)) == (objective.direction == "maximize")


def test_an_unknown_objective_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"objectives: 'num_param' is not an objective; did you mean 'num_params'\?"):
        get_objective("num_param")
    with pytest.raises(ConfigError, match="'accuracy' is not an objective"):
        check_objectives(["accuracy", "macs"])


@pytest.mark.parametrize("count", [2, 3, 4])
def test_two_to_four_that_mix_quality_with_cost(count: int) -> None:
    for names in itertools.permutations(OBJECTIVES, count):
        if set(names) & set(QUALITIES) and set(names) & set(COSTS):
            assert tuple(objective.name for objective in check_objectives(names)) == names
        else:
            with pytest.raises(ConfigError, match=r"is no trade-off; take at least one of gap_points,.* num_params,"):
                check_objectives(names)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        ((), "0 given"),
        (("gap_points",), r"1 given \(gap_points\); a trade-off takes two to four"),
        (("gap_points", "nll_nats", "macs", "num_params", "size_bytes"), "5 given"),
        (("gap_points", "macs", "macs"), "a name is repeated in gap_points, macs, macs"),
    ],
)
def test_too_few_too_many_or_twice(names: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        check_objectives(names)
