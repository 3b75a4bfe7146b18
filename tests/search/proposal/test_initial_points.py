"""Initial points: reading, checks, and a study that is killed while it tries them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from nas_distill.config import SpaceConfig, TeacherConfig
from nas_distill.config.parsing.yaml_text import dump_yaml
from nas_distill.errors import ConfigError, SpaceError
from nas_distill.objectives import check_objectives
from nas_distill.records import Cost, Recipe
from nas_distill.records.task import TrialTask
from nas_distill.search.proposal.initial_points import plan_initial_points
from nas_distill.search.proposal.initial_weights import InitialWeightsChooser
from nas_distill.search.spaces.loading import load_space, propose
from nas_distill.search.spaces.recipes import make_choices
from nas_distill.search.study.ledger import StudyLedger
from tests.helpers import make_space_context
from tests.report.factory import make_record, make_run

OBJECTIVES = check_objectives(("gap_points", "num_params"))
RESNET = {"family": "resnet", "resnet_stages": 2, "resnet_width": 8, "resnet_growth": 1.5, "resnet_depth": 1}
VIT = {"family": "vit", "vit_heads": 2}
SPACE, CONTEXT = load_space("tiny"), make_space_context()


def plan(source: Path | str, recipe: str = "fixed", *, images_per_class: float = math.inf) -> tuple[Any, ...]:
    choices = make_choices(Recipe(), TeacherConfig(), images_per_class=images_per_class)
    return plan_initial_points(
        SpaceConfig(name="tiny", initial_points=str(source), recipe=recipe),
        Recipe(),
        [choices],
        CONTEXT,
        InitialWeightsChooser(),
    )


def plan_error(source: Path | str, recipe: str = "fixed", *, images_per_class: float = math.inf) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        plan(source, recipe, images_per_class=images_per_class)
    assert caught.value.field == "space.initial_points"
    assert "\n" not in str(caught.value)
    return caught.value


def write(folder: Path, value: object) -> Path:
    path = folder / "points.yaml"
    path.write_text(dump_yaml(value))
    return path


def test_without_a_source_there_are_no_initial_points() -> None:
    assert plan_initial_points(SpaceConfig(), Recipe(), [], CONTEXT, InitialWeightsChooser()) == ()


def test_points_of_a_yaml_or_json_file_keep_their_order(tmp_path: Path) -> None:
    assert plan(write(tmp_path, [RESNET, VIT])) == (RESNET, VIT)
    path = tmp_path / "points.json"
    path.write_text(json.dumps([VIT, RESNET]))
    assert plan(path) == (VIT, RESNET)


def test_points_may_name_recipe_parameters_if_recipes_are_searched(tmp_path: Path) -> None:
    path = write(tmp_path, [{"loss": "dkd", "dkd_beta": 2.0}])
    assert plan(path, "search") == ({"loss": "dkd", "dkd_beta": 2.0},)
    assert plan_error(path).code == "search.point_parameter"


@pytest.mark.parametrize(
    ("name", "valid", "invalid"), [("remedy_tempered", 50, 49), ("remedy_tempered_without_release", 49, 50)]
)
def test_a_point_must_be_valid_for_the_number_of_images(tmp_path: Path, name: str, valid: int, invalid: int) -> None:
    point = {"loss": "kd", name: "until"}
    path = write(tmp_path, [point])
    assert plan(path, "search", images_per_class=valid) == (point,)
    assert plan_error(path, "search", images_per_class=invalid).code == "search.point_parameter"
    unknown = [make_choices(Recipe(), TeacherConfig(), images_per_class=count) for count in (math.inf, 0.0)]
    space = SpaceConfig(name="tiny", initial_points=str(path), recipe="search")
    assert plan_initial_points(space, Recipe(), unknown, CONTEXT, InitialWeightsChooser()) == (point,)


@pytest.mark.parametrize(
    ("value", "code", "named"),
    [
        ([{**RESNET, "resnet_wdth": 8}], "search.point_parameter", "resnet_width"),
        ([RESNET, {**RESNET, "vit_heads": 2}], "search.point_parameter", "point 2"),
        ([{**RESNET, "resnet_width": 99}], "search.point_value", "resnet_width"),
        ([{"family": "mlp"}], "search.point_value", "family"),
        ([{**RESNET, "resnet_growth": "wide"}], "search.point_value", "resnet_growth"),
        ([RESNET, VIT, RESNET], "search.point_repeated", "point 3"),
        ([], "search.points_format", ""),
        ({"family": "vit"}, "search.points_format", ""),
        ([["family", "vit"]], "search.points_format", "point 1"),
        ([{}], "search.points_format", "point 1"),
        ([{"family": ["vit"]}], "search.points_format", "point 1"),
    ],
)
def test_an_invalid_point_is_rejected(tmp_path: Path, value: object, code: str, named: str) -> None:
    path = write(tmp_path, value)
    error = plan_error(path)
    assert error.code == code
    assert str(path) in str(error)
    assert named in str(error)


def test_a_choice_of_one_value_rejects_other_values(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from nas_distill.records import StudentSpec\n"
        "def space(trial):\n    return StudentSpec(architecture=trial.suggest_categorical('name', ['vgg11']))\n"
    )
    space = SpaceConfig(name=str(file), initial_points=str(write(tmp_path, [{"name": "vgg13"}])))
    with pytest.raises(ConfigError) as caught:
        plan_initial_points(
            space, Recipe(), [make_choices(Recipe(), TeacherConfig())], CONTEXT, InitialWeightsChooser()
        )
    assert caught.value.code == "search.point_value"


def test_a_file_that_cannot_be_read_is_rejected(tmp_path: Path) -> None:
    assert plan_error(tmp_path / "nowhere.yaml").code == "search.file_unreadable"
    (tmp_path / "points.yaml").write_text("- {family: vit")
    with pytest.raises(ConfigError) as caught:
        plan(tmp_path / "points.yaml")
    assert caught.value.code == "config.not_yaml"


def test_a_space_that_raises_for_a_point_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def space(trial):\n    return 1 / trial.suggest_int('x', 0, 3)\n")
    space = SpaceConfig(name=str(file), initial_points=str(write(tmp_path, [{"x": 0}])))
    with pytest.raises(SpaceError) as caught:
        plan_initial_points(
            space, Recipe(), [make_choices(Recipe(), TeacherConfig())], CONTEXT, InitialWeightsChooser()
        )
    assert caught.value.code == "space.raised"


def test_the_front_of_another_run_provides_initial_points(tmp_path: Path) -> None:
    run = make_run(tmp_path / "old")
    ledger = StudyLedger(run.own_storage, "nas_distill", OBJECTIVES, 0)
    chosen = {}
    for gap, size in ((9.0, 1000), (5.0, 2000), (7.0, 3000)):
        trial = ledger.ask()
        propose(SPACE, trial, CONTEXT)
        record = make_record(trial.number, gap_points=gap, num_params=size)
        ledger.assign(trial, record.task, {})
        ledger.tell(record)
        chosen[size] = dict(trial.params)
    ledger.close()
    assert plan(run.path) == (chosen[1000], chosen[2000])


def test_a_run_without_a_student_provides_no_initial_points(tmp_path: Path) -> None:
    assert plan_error(make_run(tmp_path / "old").path).code == "search.points_empty"


def next_candidate(ledger: StudyLedger, *, assign: bool = True) -> tuple[int, dict[str, Any]]:
    trial = ledger.ask()
    spec = propose(SPACE, trial, CONTEXT)
    if assign:
        cost = Cost(num_params=1, macs=1, size_bytes=1)
        ledger.assign(trial, TrialTask(number=trial.number, seed=0, spec=spec, recipe=Recipe(), cost=cost), {})
    return trial.number, dict(trial.params)


def test_points_are_neither_lost_nor_repeated_after_a_kill(tmp_path: Path) -> None:
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
    again.reject(trial, "over a limit", spec=propose(SPACE, trial, CONTEXT), violations={"num_params": 1.0})
    last = StudyLedger(storage, "nas_distill", OBJECTIVES, 0)  # kill -9 again
    assert next_candidate(last) == (3, points[3])
    assert next_candidate(last)[1] not in points
    assert [row.params for row in last._study.trials][:4] == points


def test_a_point_is_tried_again_after_the_space_or_sampler_failed(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    ledger = StudyLedger(storage, "nas_distill", OBJECTIVES, 0)
    ledger.set_initial_points([RESNET, VIT])
    trial = ledger.ask()
    propose(SPACE, trial, CONTEXT)
    ledger.reject(trial, "the sampler failed", again=True)
    assert next_candidate(ledger)[1] == RESNET
    again = StudyLedger(storage, "nas_distill", OBJECTIVES, 0)
    assert next_candidate(again)[1]["vit_heads"] == 2


def test_the_sampler_chooses_the_parameters_that_a_point_leaves_out() -> None:
    ledger = StudyLedger(None, "nas_distill", OBJECTIVES, 0)
    ledger.set_initial_points([VIT])
    _, chosen = next_candidate(ledger)
    assert {name: chosen[name] for name in VIT} == VIT
    assert "vit_depth" in chosen
