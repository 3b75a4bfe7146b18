"""Configurations from YAML files, flags and `--set`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_distill.config import SearchConfig, TeacherConfig, default_teacher_recipe
from nas_distill.config.fields import all_keys, example, field_at
from nas_distill.config.loading import config_from_mapping, dump_config, load_config, parse_assignment
from nas_distill.errors import ConfigError, RunError
from nas_distill.records import Recipe
from nas_distill.run_directory.config import read_run_config
from nas_distill.run_directory.layout import RunDirectory
from tests.config.rejections import codes_and_fields, rejection, write


def test_without_layers_the_defaults_hold() -> None:
    assert load_config() == SearchConfig()


def test_later_layers_win(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 1\nrecipe: {epochs: 2, batch_size: 16}\nbudget: {trials: 3}\n")
    config = load_config(path, ["recipe.epochs=5"], {"recipe.epochs": 4, "budget.trials": 7, "seed": None})
    values = (config.seed, config.recipe.batch_size, config.budget.trials, config.recipe.epochs)
    assert values == (1, 16, 7, 5)


def test_the_last_set_wins() -> None:
    assert load_config(None, ["seed=1", "seed=2"]).seed == 2


def test_sections_merge_over_their_own_defaults(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "teacher:\n  recipe:\n    epochs: 3\n"))
    assert config.teacher.recipe == default_teacher_recipe().model_copy(update={"epochs": 3})
    assert config.teacher.recipe.losses == {}


def test_an_empty_section_or_file_changes_nothing(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "recipe:\n  # epochs: 3\ndata:\n")) == SearchConfig()
    assert load_config(write(tmp_path, "# nothing\n")) == SearchConfig()


def test_losses_in_yaml_replace_the_default_losses(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "recipe:\n  losses:\n    dkd: {alpha: 1, beta: 8}\n"))
    assert config.recipe.losses == {"dkd": {"alpha": 1.0, "beta": 8.0}}


def test_set_edits_the_losses_in_effect(tmp_path: Path) -> None:
    assert load_config(None, ["recipe.losses.dist.temperature=3"]).recipe.losses == {
        "dist": {"weight": 1.0, "temperature": 3.0}
    }
    path = write(tmp_path, "recipe: {losses: {dkd: {alpha: 1}, kd: {}}}\n")
    config = load_config(path, ["recipe.losses.dkd.beta=4", "recipe.losses.kd.weight=0.5"])
    assert config.recipe.losses == {"dkd": {"alpha": 1.0, "beta": 4.0}, "kd": {"weight": 0.5}}
    config = load_config(None, ["recipe.losses={kd: {}}", "recipe.losses.kd.temperature=4"])
    assert config.recipe.losses == {"kd": {"temperature": 4.0}}


@pytest.mark.parametrize("key", [".temperature=4", "={temperature: 4}"])
def test_set_cannot_add_a_loss_and_suggests_commands_that_work(key: str) -> None:
    error = rejection(None, f"recipe.losses.kd{key}")
    assert (error.code, error.field) == ("config.loss_not_in_effect", "recipe.losses.kd")
    alone, both = re.findall(r"--set '(.*?)'", str(error))
    assert load_config(None, [alone]).recipe.losses == {"kd": {"temperature": 4.0}}
    assert load_config(None, [both]).recipe.losses == {"dist": {"weight": 1.0}, "kd": {"temperature": 4.0}}


def test_set_of_a_loss_applies_to_the_losses_of_lower_layers(tmp_path: Path) -> None:
    path = write(tmp_path, "recipe: {losses: {dkd: {alpha: 1}, at: {}}}\n")
    assert "(dkd, at are)" in str(rejection(path, "recipe.losses.dist.weight=2"))
    path = write(tmp_path, "recipe: {losses: {none: {}}}\n")
    (suggestion,) = re.findall(r"--set '(.*?)'", str(rejection(path, "recipe.losses.kd.weight=2")))
    assert load_config(path, [suggestion]).recipe.losses == {"kd": {"weight": 2.0}}
    path = write(tmp_path, "recipe: {losses: 3}\n")
    error = rejection(path, "recipe.losses.kd.weight=2")
    assert (error.code, error.field) == ("config.not_a_section", "recipe.losses")
    error = rejection(None, "recipe.losses.kd=2")
    assert (error.code, error.field) == ("config.invalid_value", "recipe.losses.kd")


def test_set_replaces_a_free_mapping_and_merges_a_section() -> None:
    config = load_config(None, ["recipe={losses: {dkd: {alpha: 1}}, epochs: 2}", "teacher.arguments={a: 1}"])
    assert config.recipe == Recipe(losses={"dkd": {"alpha": 1.0}}, epochs=2)
    assert config.teacher.arguments == {"a": 1}


def test_numbers_are_read_as_in_yaml_1_2() -> None:
    texts = {"1e-3": 0.001, "2E5": 2e5, "-1.5e+2": -150.0, ".5": 0.5, "1_000": 1000, "0o17": 15, "010": 10, "0x1f": 31}
    for text, value in texts.items():
        assert load_config(None, [f"teacher.arguments.x={text}"]).teacher.arguments == {"x": value}, text
    for text in ("yes", "on", "12:30:45", "'1'"):
        assert load_config(None, [f"teacher.arguments.x={text}"]).teacher.arguments == {"x": text.strip("'")}, text
    assert load_config(None, ["recipe.learning_rate=.5e1"]).recipe.learning_rate == 5.0


def test_yaml_anchors_and_merge_keys_work(tmp_path: Path) -> None:
    path = write(tmp_path, "recipe: &r {epochs: 2, batch_size: 8}\nteacher:\n  recipe: {<<: *r, epochs: 9}\n")
    config = load_config(path, ["recipe.losses.dist.weight=0.1"])
    assert (config.teacher.recipe.epochs, config.teacher.recipe.batch_size) == (9, 8)


def test_values_of_flags_are_not_changed() -> None:
    losses = {"kd": {"weight": 1.0}}
    load_config(None, ["recipe.losses.kd.weight=0.5"], {"recipe.losses": losses})
    assert losses == {"kd": {"weight": 1.0}}


def test_an_unknown_key_names_the_nearest_key_and_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 1\nrecipe:\n  epochz: 3\n")
    error = rejection(path)
    assert (error.code, error.field) == ("config.unknown_key", "recipe.epochz")
    assert "did you mean 'epochs'?" in str(error)
    assert f"{path}:3" in str(error)


def test_a_key_in_the_wrong_section_names_the_right_section() -> None:
    error = rejection(None, "max_params=3")
    assert (error.code, error.field) == ("config.unknown_key", "max_params")
    assert "'space.max_params'" in str(error)


def test_every_wrong_value_is_reported_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "recipe:\n  epochs: ten\n  label_weight: -1\nseed: true\n")
    error = rejection(path)
    fields = {"recipe.epochs": 2, "recipe.label_weight": 3, "seed": 4}
    assert codes_and_fields(error) == {("config.invalid_value", field) for field in fields}
    for line in str(error).splitlines():
        assert line.endswith(f"(in {path}:{fields[line.partition(':')[0]]})")


def test_an_overridden_line_is_not_blamed(tmp_path: Path) -> None:
    path = write(tmp_path, "recipe: {epochs: ten}\n")
    assert load_config(path, ["recipe.epochs=3"]).recipe.epochs == 3
    assert str(rejection(path, "recipe.epochs=0")).endswith("(in --set recipe.epochs=0)")


def test_a_flag_is_named_as_the_user_wrote_it() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, (), {"budget.trials": 0}, flag_names={"budget.trials": "--trials"})
    assert (caught.value.code, caught.value.field) == ("config.invalid_value", "budget.trials")
    assert str(caught.value).endswith("(in --trials)")


def test_true_and_false_are_accepted_where_a_switch_is_expected() -> None:
    overrides = ["data.download=true", "views.flip=no", "teacher.arguments={a: true, b: [false, 1], c: {d: true}}"]
    config = load_config(None, overrides)
    assert (config.data.download, config.views.flip) == (True, False)
    assert config.teacher.arguments == {"a": True, "b": (False, 1), "c": {"d": True}}


def test_every_list_has_a_valid_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_losses.py").touch()  # the example of `plugins`
    fields = {key: field_at(key) for key in all_keys()}
    lists = [key for key, field in fields.items() if field is not None and "tuple[" in str(field.annotation)]
    assert {".".join(key) for key in lists} == {
        "asha.rungs",
        "objectives",
        "plugins",
        "space.initial_weights",
        "space.licences",
        "views.mixes",
    }
    for key in lists:
        load_config(None, [f"{'.'.join(key)}={example(key)}"])


def test_an_assignment_keeps_later_equal_signs() -> None:
    assert parse_assignment("resources.storage=postgresql://h/d?a=b", flag="--set") == (
        ("resources", "storage"),
        "postgresql://h/d?a=b",
    )


def test_a_mapping_is_read_like_a_file() -> None:
    config = config_from_mapping({"budget": {"trials": 8}, "recipe": {"losses": {"kd": {}}}}, origin="search()")
    assert (config.budget.trials, config.recipe.losses) == (8, {"kd": {}})
    with pytest.raises(ConfigError) as caught:
        config_from_mapping({"budget": {"trails": 8}}, origin="search()")
    assert (caught.value.code, caught.value.field) == ("config.unknown_key", "budget.trails")


texts = st.sampled_from(["1e-3", "1", "yes", "null", "a: b", "#x", "é", "", "~", "2E5", "0x1", "12:30:45", ".5e1"])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=30)
@given(
    arguments=st.dictionaries(texts, values, max_size=4),
    rate=st.floats(1e-12, 1e6),
    seed=st.integers(0, 2**31),
)
def test_a_dumped_configuration_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory, arguments: dict[str, object], rate: float, seed: int
) -> None:
    config = SearchConfig(
        teacher=TeacherConfig.model_validate({"model": "resnet18", "arguments": arguments}),
        recipe=Recipe(learning_rate=rate, losses={"dkd": {"alpha": 1.0}}),
        seed=seed,
    )
    path = tmp_path_factory.mktemp("dump") / "config.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config


def test_a_run_returns_its_configuration(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(RunError) as caught:
        read_run_config(run)
    assert (caught.value.code, caught.value.field) == ("run.missing", str(tmp_path))
    config = load_config(None, ["seed=7", "recipe.losses={dkd: {alpha: 2}}"])
    run.config.write_text(dump_config(config), encoding="utf-8")
    assert read_run_config(run) == config.with_space_name()
    run.config.write_text("sead: 7\n", encoding="utf-8")
    with pytest.raises(RunError) as caught:
        read_run_config(run)
    assert "config.yaml:1" in str(caught.value)
