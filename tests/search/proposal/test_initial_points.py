"""Candidates to try first: what is read, what is refused, and what a kill does to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nas_distill.config import SearchConfig, SpaceConfig
from nas_distill.config.yaml_text import dump_yaml
from nas_distill.errors import ConfigError, SpaceError
from nas_distill.objectives import check_objectives
from nas_distill.records import Cost, Recipe
from nas_distill.records.task import TrialTask
from nas_distill.search.proposal.initial_points import plan_initial_points
from nas_distill.search.spaces.loading import load_space, propose
from nas_distill.search.study.ledger import StudyLedger
from tests.report.factory import make_record, make_run

OBJECTIVES = check_objectives(("gap_points", "num_params"))
RESNET = {"family": "resnet", "resnet_stages": 2, "resnet_width": 8, "resnet_growth": 1.5, "resnet_depth": 1}
VIT = {"family": "vit", "vit_heads": 2}
SPACE = load_space("tiny")


def planned(source: Path | str, recipe: str = "fixed") -> tuple[Any, ...]:
    return plan_initial_points(SearchConfig(space=SpaceConfig(initial_points=str(source), recipe=recipe)))


def write(folder: Path, value: object) -> Path:
    path = folder / "points.yaml"
    path.write_text(dump_yaml(value))
    return path


def test_without_a_source_there_are_none() -> None:
    assert plan_initial_points(SearchConfig()) == ()


def test_a_file_of_yaml_or_json_in_its_order(tmp_path: Path) -> None:
    assert planned(write(tmp_path, [RESNET, VIT])) == (RESNET, VIT)
    path = tmp_path / "points.json"
    path.write_text(json.dumps([VIT, RESNET]))
    assert planned(path) == (VIT, RESNET)


def test_parameters_of_recipes_are_points_too_where_recipes_are_searched(tmp_path: Path) -> None:
    path = write(tmp_path, [{"loss": "dkd", "dkd_beta": 2.0}])
    assert planned(path, "search") == ({"loss": "dkd", "dkd_beta": 2.0},)
    with pytest.raises(ConfigError, match="point 1: 'dkd_beta' is no parameter that the space asks for"):
        planned(path)


@pytest.mark.parametrize(("name", "fits", "not_"), [("remedy_tempered", 50, 49), ("remedy_tempered_kept", 49, 50)])
def test_a_point_must_fit_the_images_once_they_are_known(tmp_path: Path, name: str, fits: int, not_: int) -> None:
    point = {"loss": "kd", name: "until"}
    config = SearchConfig(space=SpaceConfig(initial_points=str(write(tmp_path, [point])), recipe="search"))
    assert plan_initial_points(config) == plan_initial_points(config, images_per_class=fits) == (point,)
    with pytest.raises(ConfigError, match=f"point 1: '{name}' is no parameter that the space asks for"):
        plan_initial_points(config, images_per_class=not_)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([{**RESNET, "resnet_wdth": 8}], "point 1: 'resnet_wdth' is no parameter .* did you mean 'resnet_width'"),
        ([RESNET, {**RESNET, "vit_heads": 2}], "point 2: 'vit_heads' is no parameter that the space asks for beside"),
        ([{**RESNET, "resnet_width": 99}], "point 1: resnet_width: 99 is outside IntDistribution"),
        ([{"family": "mlp"}], "point 1: family: 'mlp' is outside CategoricalDistribution"),
        ([{**RESNET, "resnet_growth": "wide"}], "point 1: resnet_growth: 'wide' is outside FloatDistribution"),
        ([RESNET, VIT, RESNET], "point 3: is the same as point 1"),
        ([], "must be a list of parameter mappings"),
        ({"family": "vit"}, "must be a list of parameter mappings"),
        ([["family", "vit"]], "point 1: must be a mapping"),
        ([{}], "point 1: must be a mapping"),
        ([{"family": ["vit"]}], "point 1: must be a mapping of parameter names to plain values"),
    ],
)
def test_what_is_no_point_is_one_line(tmp_path: Path, value: object, message: str) -> None:
    path = write(tmp_path, value)
    with pytest.raises(ConfigError, match=message) as caught:
        planned(path)
    assert str(caught.value).startswith(f"space.initial_points: {path}: ")
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        planned(tmp_path / "nowhere.yaml")
    (tmp_path / "points.yaml").write_text("- {family: vit")
    with pytest.raises(ConfigError, match="not valid YAML"):
        planned(tmp_path / "points.yaml")


def test_a_space_that_raises_for_a_point_is_told(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def space(trial):\n    return 1 / trial.suggest_int('x', 0, 3)\n")
    config = SearchConfig(space=SpaceConfig(name=str(file), initial_points=str(write(tmp_path, [{"x": 0}]))))
    with pytest.raises(SpaceError, match="ZeroDivisionError"):
        plan_initial_points(config)


def test_the_front_of_another_run_is_a_warm_start(tmp_path: Path) -> None:
    run = make_run(tmp_path / "old")
    ledger = StudyLedger(run.own_storage, "nas_distill", OBJECTIVES, 0)
    chosen = {}
    for gap, size in ((9.0, 1000), (5.0, 2000), (7.0, 3000)):
        trial = ledger.ask()
        propose(SPACE, trial)
        ledger.tell(make_record(trial.number, gap_points=gap, num_params=size))
        chosen[size] = dict(trial.params)
    ledger.close()
    assert planned(run.path) == (chosen[1000], chosen[2000])


def test_a_run_without_a_student_is_no_warm_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no fully trained student"):
        planned(make_run(tmp_path / "old").path)


def next_candidate(ledger: StudyLedger, *, assign: bool = True) -> tuple[int, dict[str, Any]]:
    trial = ledger.ask()
    spec = propose(SPACE, trial)
    if assign:
        cost = Cost(num_params=1, macs=1, size_bytes=1)
        ledger.assign(trial, TrialTask(number=trial.number, seed=0, spec=spec, recipe=Recipe(), cost=cost), {})
    return trial.number, dict(trial.params)


def test_points_survive_a_kill_without_loss_or_repetition(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    points = [{**RESNET, "resnet_width": width} for width in (5, 7, 9, 11)]
    ledger = StudyLedger(storage, "nas_distill", OBJECTIVES, 0)
    ledger.set_initial_points(points)
    assert next_candidate(ledger) == (0, points[0])
    assert next_candidate(ledger, assign=False) == (1, points[1])  # kill -9 here
    again = StudyLedger(storage, "nas_distill", OBJECTIVES, 0)
    assert [task.number for task in again.unfinished()] == [0]
    assert next_candidate(again) == (1, points[1])
    trial = again.ask()
    again.reject(trial, "over budget", spec=propose(SPACE, trial), violations={"num_params": 1.0})
    last = StudyLedger(storage, "nas_distill", OBJECTIVES, 0)  # kill -9 again
    assert next_candidate(last) == (3, points[3])
    assert next_candidate(last)[1] not in points
    assert [row.params for row in last._study.trials][:4] == points


def test_a_point_with_which_the_space_or_sampler_failed_is_tried_again(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    ledger = StudyLedger(storage, "nas_distill", OBJECTIVES, 0)
    ledger.set_initial_points([RESNET, VIT])
    trial = ledger.ask()
    propose(SPACE, trial)
    ledger.reject(trial, "the sampler failed", again=True)
    assert next_candidate(ledger)[1] == RESNET
    again = StudyLedger(storage, "nas_distill", OBJECTIVES, 0)
    assert next_candidate(again)[1]["vit_heads"] == 2


def test_what_a_point_leaves_open_the_sampler_chooses() -> None:
    ledger = StudyLedger(None, "nas_distill", OBJECTIVES, 0)
    ledger.set_initial_points([VIT])
    _, chosen = next_candidate(ledger)
    assert {name: chosen[name] for name in VIT} == VIT
    assert "vit_depth" in chosen
