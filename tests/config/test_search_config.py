"""`SearchConfig` on its own; `test_loading` reads it from files and flags."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from nas_distill.config import (
    AshaConfig,
    BudgetConfig,
    DataConfig,
    PicksConfig,
    ResourcesConfig,
    SamplerConfig,
    SearchConfig,
    SpaceConfig,
    TeacherConfig,
    default_teacher_recipe,
    split_run,
)
from nas_distill.config.loading import dump_config, load_config
from nas_distill.errors import ConfigError
from nas_distill.records import Recipe
from tests.config.rejections import rejection


def full_config() -> SearchConfig:
    return SearchConfig(
        data=DataConfig(source="folder:images", root="downloads"),
        teacher=TeacherConfig(model="local-dir:teacher", checkpoint="weights/w.safetensors"),
        space=SpaceConfig(name="spaces/own.py:mine"),
    )


def test_relative_paths_become_absolute(tmp_path: Path) -> None:
    config = full_config().with_absolute_paths(tmp_path)
    assert config.data.source == f"folder:{tmp_path}/images"
    assert config.data.root == f"{tmp_path}/downloads"
    assert config.teacher.model == f"local-dir:{tmp_path}/teacher"
    assert config.teacher.checkpoint == f"{tmp_path}/weights/w.safetensors"
    assert config.space.name == f"{tmp_path}/spaces/own.py:mine"


def test_paths_of_plugin_files_become_absolute_and_modules_stay(tmp_path: Path) -> None:
    config = SearchConfig(plugins=("losses.py", "package.losses")).with_absolute_paths(tmp_path)
    assert config.plugins == (f"{tmp_path}/losses.py", "package.losses")


def test_the_path_of_a_teacher_from_a_run_becomes_absolute_and_keeps_its_trial(tmp_path: Path) -> None:
    config = SearchConfig(teacher=TeacherConfig(model="run:runs/first/12")).with_absolute_paths(tmp_path)
    assert config.teacher.model == f"run:{tmp_path}/runs/first/12"
    assert split_run(config.teacher.model) == (tmp_path / "runs" / "first", 12)
    assert config.with_absolute_paths(tmp_path / "elsewhere") == config


def test_a_teacher_from_a_run_needs_a_trial_number() -> None:
    for model in ("run:", "run:first", "run:/12", "run:first/", "run:first/best", "run:first/-1"):
        assert fields_at_fault(TeacherConfig, {"model": model}) == ["model"], model


def test_anchored_paths_stay_where_they_are(tmp_path: Path) -> None:
    once = full_config().with_absolute_paths(tmp_path)
    assert once.with_absolute_paths(tmp_path / "elsewhere") == once
    assert full_config().with_absolute_paths(tmp_path / "a" / "..") == once


def test_home_and_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config = SearchConfig(
        data=DataConfig(source="folder:~/images", root="/data"), teacher=TeacherConfig(model="local-dir:/teacher")
    ).with_absolute_paths(tmp_path)
    assert config.data.source == f"folder:{tmp_path}/home/images"
    assert config.data.root == "/data"
    assert config.teacher.model == "local-dir:/teacher"


def test_names_are_not_treated_as_paths(tmp_path: Path) -> None:
    config = SearchConfig(
        data=DataConfig(source="torch/cifar10"),
        teacher=TeacherConfig(model="resnet34"),
        space=SpaceConfig(name="tiny"),
    )
    assert config.with_absolute_paths(tmp_path) == config
    assert SearchConfig().with_absolute_paths(tmp_path) == SearchConfig()


def test_anchoring_changes_only_paths(tmp_path: Path) -> None:
    config = full_config().model_copy(update={"seed": 3})
    anchored = config.with_absolute_paths(tmp_path)
    for section in ("views", "objectives", "budget", "asha", "recipe", "resources", "picks", "assistants", "seed"):
        assert getattr(anchored, section) == getattr(config, section)


def test_a_configuration_survives_json_and_pickle(tmp_path: Path) -> None:
    config = full_config().with_absolute_paths(tmp_path)
    assert SearchConfig.model_validate_json(config.model_dump_json()) == config
    assert pickle.loads(pickle.dumps(config)) == config


def test_only_digits_come_with_a_teacher() -> None:
    assert SearchConfig().teacher.model is None
    with pytest.raises(ValidationError) as caught:
        SearchConfig(data=DataConfig(source="folder:images"))
    assert caught.value.errors()[0]["type"] == "config.teacher_missing"


def test_objectives_are_checked() -> None:
    with pytest.raises(ConfigError) as caught:
        SearchConfig(objectives=("macs", "num_params"))
    assert (caught.value.code, caught.value.field) == ("config.no_trade_off", "objectives")


def test_rungs_lie_below_the_epochs() -> None:
    asha = AshaConfig(rungs=(3, 30))
    with pytest.raises(ValidationError) as caught:
        SearchConfig(asha=asha)
    assert caught.value.errors()[0]["type"] == "config.rung_after_last_epoch"
    assert SearchConfig(asha=asha, recipe=Recipe(epochs=31)).asha.rungs == (3, 30)


def test_the_default_teacher_learns_from_labels_alone() -> None:
    recipe = default_teacher_recipe()
    assert not recipe.losses
    assert recipe.label_weight == 1.0
    assert TeacherConfig().recipe == recipe


def test_the_address_local_overrides_a_cluster_address(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(SearchConfig(resources=ResourcesConfig(address="head:6379"))), encoding="utf-8")
    assert load_config(path).resources.address == "head:6379"
    assert load_config(path, (), {"resources.address": "local"}) == SearchConfig()


def test_a_storage_takes_its_password_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("postgresql://u:hush@h/db", "postgresql://u:hu@sh@h/db", "postgresql://u@h/db?password=hush"):
        with pytest.raises(ConfigError) as caught:
            load_config(None, (), {"resources.storage": url})
        assert (caught.value.code, caught.value.field) == ("study.password_in_url", "resources.storage")
        assert "hush" not in str(caught.value)
    resources = load_config(None, (), {"resources.storage": "postgresql://u:${OUR_PASSWORD}@h/db"}).resources
    monkeypatch.setenv("OUR_PASSWORD", "hu@sh")
    assert resources.storage_url == "postgresql://u:hu%40sh@h/db"
    assert "study_name" not in resources.model_fields_set  # so that the service gives the study a name of its own
    monkeypatch.delenv("OUR_PASSWORD")
    with pytest.raises(ConfigError) as caught:
        _ = resources.storage_url
    assert (caught.value.code, caught.value.field) == ("study.variable_not_set", "resources.storage")


def test_our_own_validators_name_the_field() -> None:
    in_memory = ("sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite+pysqlite:///:memory:")
    shared_memory = "sqlite:///file:study?mode=memory&cache=shared&uri=true"
    cases: list[tuple[Callable[..., Any], dict[str, Any]]] = [
        (DataConfig, {"channels": 2}),
        (TeacherConfig, {"arguments": {"a": float("nan")}}),
        (ResourcesConfig, {"gpus_per_trial": -0.5}),
        (ResourcesConfig, {"gpus_per_trial": float("inf")}),
        (ResourcesConfig, {"gpus_per_trial": "all"}),
        (ResourcesConfig, {"gpus_per_trial": 2.0}),
        (ResourcesConfig, {"cpus_per_trial": 1.5}),
        *((ResourcesConfig, {"storage": url}) for url in (*in_memory, shared_memory)),
        (BudgetConfig, {"time_s": "8 lightyears"}),
        (PicksConfig, {"folds": 1}),
        (PicksConfig, {"folds": -2}),
        (SamplerConfig, {"name": "tpee"}),
        (AshaConfig, {"rungs": []}),
        (AshaConfig, {"rungs": [3, 3]}),
        (AshaConfig, {"rungs": [10, 3]}),
    ]
    for section, values in cases:
        assert fields_at_fault(section, values) == list(values), values


def fields_at_fault(section: Callable[..., Any], values: dict[str, Any]) -> list[str | int]:
    with pytest.raises(ValidationError) as caught:
        section(**values)
    return [error["loc"][0] for error in caught.value.errors()]


def test_initial_weights_are_checked() -> None:
    assert SpaceConfig().initial_weights == ("random", "teacher")
    for value in ((), ("techer",), ("random", "random"), ("run:first",), ("run:first/best",), ("teacher", 3), "random"):
        assert fields_at_fault(SpaceConfig, {"initial_weights": value}) == ["initial_weights"], value


def test_paths_among_the_initial_weights_become_absolute(tmp_path: Path) -> None:
    space = SpaceConfig(initial_weights=("random", "run:runs/first/12"), pretrained_root="weights")
    absolute = SearchConfig(space=space).with_absolute_paths(tmp_path).space
    assert absolute.initial_weights == ("random", f"run:{tmp_path}/runs/first/12")
    assert absolute.pretrained_root == f"{tmp_path}/weights"


def test_bounds_are_numbers_or_shares_of_the_teacher() -> None:
    for given, kept in ((500, 500), ("500", 500), (1e3, 1000), ("10%", "10%"), ("0.5 %", "0.5 %"), ("100%", "100%")):
        assert SpaceConfig.model_validate({"max_params": given}).max_params == kept


@pytest.mark.parametrize("bound", ["101%", "0%", "-5%", "ten", "1.5", 0, -3, 0.5, "", "%"])
def test_a_bound_that_is_neither_a_number_nor_a_share_is_rejected(bound: object) -> None:
    for name in ("max_params", "max_macs", "max_size_bytes"):
        error = rejection(None, f"space.{name}='{bound}'" if isinstance(bound, str) else f"space.{name}={bound}")
        assert (error.code, error.field) == ("config.invalid_value", f"space.{name}")


def test_the_default_space_follows_the_data() -> None:
    teacher = TeacherConfig(model="local-dir:t")
    assert SearchConfig().with_space_name().space.name == "tiny"
    photos = SearchConfig(data=DataConfig(source="folder:photos"), teacher=teacher)
    assert photos.with_space_name().space.name == "auto"
    assert SearchConfig(space=SpaceConfig(name="resnet")).with_space_name().space.name == "resnet"
