"""`SearchConfig` on its own; reading it from files and flags is tested with `config_io`."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from nas_distill.config import (
    AshaConfig,
    AssistantsConfig,
    BudgetConfig,
    DataConfig,
    PicksConfig,
    ResourcesConfig,
    SearchConfig,
    SpaceConfig,
    TeacherConfig,
    ViewsConfig,
    default_teacher_recipe,
    split_run,
)
from nas_distill.config.loading import dump_config, load_config
from nas_distill.errors import ConfigError
from nas_distill.records import Recipe


def full_config() -> SearchConfig:
    return SearchConfig(
        data=DataConfig(source="folder:images", root="downloads"),
        teacher=TeacherConfig(model="local-dir:teacher", checkpoint="weights/w.safetensors"),
        space=SpaceConfig(name="spaces/own.py:mine"),
    )


def test_relative_paths_are_anchored(tmp_path: Path) -> None:
    config = full_config().anchored(tmp_path)
    assert config.data.source == f"folder:{tmp_path}/images"
    assert config.data.root == f"{tmp_path}/downloads"
    assert config.teacher.model == f"local-dir:{tmp_path}/teacher"
    assert config.teacher.checkpoint == f"{tmp_path}/weights/w.safetensors"
    assert config.space.name == f"{tmp_path}/spaces/own.py:mine"


def test_a_run_that_teaches_is_anchored_with_its_trial(tmp_path: Path) -> None:
    config = SearchConfig(teacher=TeacherConfig(model="run:runs/first/12")).anchored(tmp_path)
    assert config.teacher.model == f"run:{tmp_path}/runs/first/12"
    assert split_run(config.teacher.model) == (tmp_path / "runs" / "first", 12)
    assert config.anchored(tmp_path / "elsewhere") == config


@pytest.mark.parametrize("model", ["run:", "run:first", "run:/12", "run:first/", "run:first/best", "run:first/-1"])
def test_a_run_without_a_trial_is_refused(model: str) -> None:
    with pytest.raises(ValidationError, match="names no trial; give run:RUN/TRIAL"):
        TeacherConfig(model=model)


def test_anchored_paths_stay_where_they_are(tmp_path: Path) -> None:
    once = full_config().anchored(tmp_path)
    assert once.anchored(tmp_path / "elsewhere") == once
    assert full_config().anchored(tmp_path / "a" / "..") == once


def test_home_and_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config = SearchConfig(
        data=DataConfig(source="folder:~/images", root="/data"), teacher=TeacherConfig(model="local-dir:/teacher")
    ).anchored(tmp_path)
    assert config.data.source == f"folder:{tmp_path}/home/images"
    assert config.data.root == "/data"
    assert config.teacher.model == "local-dir:/teacher"


def test_names_are_no_paths(tmp_path: Path) -> None:
    config = SearchConfig(
        data=DataConfig(source="torch/cifar10"),
        teacher=TeacherConfig(model="resnet34"),
        space=SpaceConfig(name="tiny"),
    )
    assert config.anchored(tmp_path) == config
    assert SearchConfig().anchored(tmp_path) == SearchConfig()


def test_anchoring_changes_nothing_else(tmp_path: Path) -> None:
    config = full_config().model_copy(update={"seed": 3})
    anchored = config.anchored(tmp_path)
    for section in ("views", "objectives", "budget", "asha", "recipe", "resources", "picks", "assistants", "seed"):
        assert getattr(anchored, section) == getattr(config, section)


def test_a_configuration_survives_json_and_pickle(tmp_path: Path) -> None:
    config = full_config().anchored(tmp_path)
    assert SearchConfig.model_validate_json(config.model_dump_json()) == config
    assert pickle.loads(pickle.dumps(config)) == config


def test_only_digits_come_with_a_teacher() -> None:
    assert SearchConfig().teacher.model is None
    with pytest.raises(ValidationError, match=r"teacher\.model is not given, .*data\.source is 'folder:images'"):
        SearchConfig(data=DataConfig(source="folder:images"))


def test_objectives_are_checked() -> None:
    with pytest.raises(ConfigError, match="is no trade-off"):
        SearchConfig(objectives=("macs", "num_params"))


def test_rungs_lie_below_the_epochs() -> None:
    asha = AshaConfig(rungs=(3, 30))
    with pytest.raises(ValidationError, match=r"asha\.rungs: 30 is not below recipe\.epochs, which is 30"):
        SearchConfig(asha=asha)
    assert SearchConfig(asha=asha, recipe=Recipe(epochs=31)).asha.rungs == (3, 30)


def test_the_default_teacher_learns_from_labels_alone() -> None:
    recipe = default_teacher_recipe()
    assert not recipe.losses
    assert recipe.label_weight == 1.0
    assert TeacherConfig().recipe == recipe


def test_a_local_cluster_has_a_name_so_that_a_run_of_another_one_can_go_on_here(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(SearchConfig(resources=ResourcesConfig(address="head:6379"))), encoding="utf-8")
    assert load_config(path).resources.address == "head:6379"
    assert load_config(path, (), {"resources.address": "local"}) == SearchConfig()


@pytest.mark.parametrize(
    ("section", "values", "field"),
    [
        (DataConfig, {"channels": 2}, "channels"),
        (DataConfig, {"channels": 4}, "channels"),
        (DataConfig, {"source": ""}, "source"),
        (DataConfig, {"image_size": 3}, "image_size"),
        (DataConfig, {"validation_fraction": 0.0}, "validation_fraction"),
        (DataConfig, {"test_fraction": 1.0}, "test_fraction"),
        (DataConfig, {"max_train_images": 0}, "max_train_images"),
        (DataConfig, {"memory_budget_mib": 0}, "memory_budget_mib"),
        (DataConfig, {"workers": -1}, "workers"),
        (DataConfig, {"sauce": "digits"}, "sauce"),
        (ViewsConfig, {"count": 0}, "count"),
        (ViewsConfig, {"crop_padding": -1}, "crop_padding"),
        (ViewsConfig, {"rotate_degrees": 181}, "rotate_degrees"),
        (ViewsConfig, {"rotate_degrees": -1}, "rotate_degrees"),
        (ViewsConfig, {"scale": 0.95}, "scale"),
        (ViewsConfig, {"shear_degrees": 61}, "shear_degrees"),
        (ViewsConfig, {"brightness": -0.1}, "brightness"),
        (ViewsConfig, {"contrast": 1.1}, "contrast"),
        (ViewsConfig, {"saturation": float("nan")}, "saturation"),
        (ViewsConfig, {"mix": "blend"}, "mix"),
        (ViewsConfig, {"mix_alpha": 0.0}, "mix_alpha"),
        (ViewsConfig, {"mix_alpha": float("inf")}, "mix_alpha"),
        (ViewsConfig, {"mix_share": 0.0}, "mix_share"),
        (ViewsConfig, {"mix_share": 1.5}, "mix_share"),
        (TeacherConfig, {"image_size": 0}, "image_size"),
        (TeacherConfig, {"arguments": {"a": float("nan")}}, "arguments"),
        (SpaceConfig, {"name": ""}, "name"),
        (SpaceConfig, {"max_params": 0}, "max_params"),
        (BudgetConfig, {"trials": 0}, "trials"),
        (BudgetConfig, {"max_rejections": 0}, "max_rejections"),
        (ResourcesConfig, {"cpus_per_trial": 0}, "cpus_per_trial"),
        (ResourcesConfig, {"gpus_per_trial": -0.5}, "gpus_per_trial"),
        (ResourcesConfig, {"gpus_per_trial": float("inf")}, "gpus_per_trial"),
        (ResourcesConfig, {"max_parallel_trials": 0}, "max_parallel_trials"),
        *(
            (ResourcesConfig, {"storage": url}, "storage")
            for url in (
                "sqlite://",
                "sqlite:///",
                "sqlite:///:memory:",
                "sqlite+pysqlite:///:memory:",
                "sqlite:///file:study?mode=memory&cache=shared&uri=true",
            )
        ),
        (PicksConfig, {"gap_tolerance_points": float("nan")}, "gap_tolerance_points"),
        (PicksConfig, {"folds": 1}, "folds"),
        (PicksConfig, {"folds": -2}, "folds"),
        (AssistantsConfig, {"count": -1}, "count"),
        (AssistantsConfig, {"students": 0}, "students"),
        (AssistantsConfig, {"min_gap_points": -0.5}, "min_gap_points"),
        (AshaConfig, {"rule": ""}, "rule"),
        (AshaConfig, {"reduction_factor": 1.0}, "reduction_factor"),
        (AshaConfig, {"reduction_factor": float("inf")}, "reduction_factor"),
        (AshaConfig, {"grace_epochs": 0}, "grace_epochs"),
        (AshaConfig, {"rungs": []}, "rungs"),
        (AshaConfig, {"rungs": [3, 3]}, "rungs"),
        (AshaConfig, {"rungs": [10, 3]}, "rungs"),
        (SearchConfig, {"seed": -1}, "seed"),
    ],
)
def test_a_value_out_of_range_is_named(section: Callable[..., Any], values: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        section(**values)
    assert [error["loc"][0] for error in caught.value.errors()] == [field]
