from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_distill.config import SearchConfig, TeacherConfig, default_teacher_recipe
from nas_distill.config.fields import all_keys, example, field_at
from nas_distill.config.loading import dump_config, load_config, parse_assignment
from nas_distill.errors import ConfigError, RunError
from nas_distill.records import Recipe
from nas_distill.run_directory.config import read_run_config
from nas_distill.run_directory.layout import RunDirectory


def write(folder: Path, text: str) -> Path:
    path = folder / "search.yaml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def complaint(path: Path | None = None, *overrides: str, **flags: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides, flags)
    return str(caught.value)


def test_no_layer_is_the_default() -> None:
    assert load_config() == SearchConfig()


def test_later_layers_win(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 1\nrecipe: {epochs: 2, batch_size: 16}\nbudget: {trials: 3}\n")
    config = load_config(path, ["recipe.epochs=5"], {"recipe.epochs": 4, "budget.trials": 7, "seed": None})
    assert (config.seed, config.recipe.batch_size, config.budget.trials, config.recipe.epochs) == (
        1,
        16,
        7,
        5,
    )


def test_the_last_set_wins() -> None:
    assert load_config(None, ["seed=1", "seed=2"]).seed == 2


def test_sections_merge_over_their_own_defaults(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "teacher:\n  recipe:\n    epochs: 3\n"))
    assert config.teacher.recipe == default_teacher_recipe().model_copy(update={"epochs": 3})
    assert config.teacher.recipe.losses == {}


def test_an_empty_section_or_file_says_nothing(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "recipe:\n  # epochs: 3\ndata:\n")) == SearchConfig()
    assert load_config(write(tmp_path, "# nothing\n")) == SearchConfig()


def test_losses_in_yaml_replace(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("key", ["temperature=4", "={temperature: 4}"])
def test_set_adds_no_loss_to_those_in_effect_unless_it_names_them_all(key: str) -> None:
    override = f"recipe.losses.kd{'' if key.startswith('=') else '.'}{key}"
    message = complaint(None, override)
    assert message == (
        f"--set {override}: recipe.losses.kd is not in effect (dist is); write "
        "--set 'recipe.losses={kd: {temperature: 4}}' to take its place, or "
        "--set 'recipe.losses={dist: {weight: 1.0}, kd: {temperature: 4}}' for both"
    )
    control, both = re.findall(r"--set '(.*?)'", message)
    assert load_config(None, [control]).recipe.losses == {"kd": {"temperature": 4.0}}
    assert load_config(None, [both]).recipe.losses == {"dist": {"weight": 1.0}, "kd": {"temperature": 4.0}}


def test_what_is_in_effect_is_what_lower_layers_say(tmp_path: Path) -> None:
    path = write(tmp_path, "recipe: {losses: {dkd: {alpha: 1}, at: {}}}\n")
    assert "not in effect (dkd, at are); write" in complaint(path, "recipe.losses.dist.weight=2")
    path = write(tmp_path, "recipe: {losses: {none: {}}}\n")
    assert complaint(path, "recipe.losses.kd.weight=2").endswith(
        "not in effect (no loss is); write --set 'recipe.losses={kd: {weight: 2}}'"
    )
    path = write(tmp_path, "recipe: {losses: 3}\n")
    assert "'recipe.losses' is a value (3), not a section" in complaint(path, "recipe.losses.kd.weight=2")
    assert "should be a mapping" in complaint(None, "recipe.losses.kd=2")


def test_set_replaces_a_whole_free_mapping_and_merges_a_whole_section() -> None:
    config = load_config(None, ["recipe={losses: {dkd: {alpha: 1}}, epochs: 2}", "teacher.arguments={a: 1}"])
    assert config.recipe == Recipe(losses={"dkd": {"alpha": 1.0}}, epochs=2)
    assert config.teacher.arguments == {"a": 1}


@pytest.mark.parametrize(("text", "value"), [("1e-3", 0.001), ("2E5", 2e5), ("-1.5e+2", -150.0), (".5e1", 5.0)])
def test_floats_without_a_point_are_floats(text: str, value: float) -> None:
    assert load_config(None, [f"teacher.arguments.x={text}"]).teacher.arguments == {"x": value}


def test_yaml_anchors_and_merge_keys_work(tmp_path: Path) -> None:
    path = write(tmp_path, "recipe: &r {epochs: 2, batch_size: 8}\nteacher:\n  recipe: {<<: *r, epochs: 9}\n")
    config = load_config(path, ["recipe.losses.dist.weight=0.1"])
    assert (config.teacher.recipe.epochs, config.teacher.recipe.batch_size) == (9, 8)


def test_what_flags_hand_in_is_not_changed() -> None:
    losses = {"kd": {"weight": 1.0}}
    load_config(None, ["recipe.losses.kd.weight=0.5"], {"recipe.losses": losses})
    assert losses == {"kd": {"weight": 1.0}}


def test_unknown_key_names_the_nearest_and_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 1\nrecipe:\n  epochz: 3\n")
    message = f"{path}:3: unknown key 'recipe.epochz'; did you mean 'epochs'? known: adaptive, batch_size"
    assert message in complaint(path)


def test_a_key_in_the_wrong_section_is_sent_home() -> None:
    assert complaint(None, "max_params=3") == (
        "--set max_params=3: unknown key 'max_params'; did you mean 'space.max_params'?"
    )


def test_wrong_value_names_field_value_rule_and_line(tmp_path: Path) -> None:
    path = write(tmp_path, "recipe:\n  epochs: ten\n  label_weight: -1\n")
    lines = complaint(path).splitlines()
    not_a_number = "should be a valid integer, unable to parse string as an integer"
    assert sorted(lines) == [
        f"{path}:2: recipe.epochs {not_a_number}; found 'ten'",
        f"{path}:3: recipe.label_weight should be greater than or equal to 0; found -1",
    ]


def test_an_overridden_line_is_not_blamed(tmp_path: Path) -> None:
    path = write(tmp_path, "recipe: {epochs: ten}\n")
    assert load_config(path, ["recipe.epochs=3"]).recipe.epochs == 3
    assert complaint(path, "recipe.epochs=0").startswith("--set recipe.epochs=0: recipe.epochs should be greater")


def test_a_flag_is_named_as_the_user_wrote_it() -> None:
    with pytest.raises(ConfigError, match=r"^--trials: budget.trials should be greater than 0; found 0$"):
        load_config(None, (), {"budget.trials": 0}, flag_names={"budget.trials": "--trials"})


def test_rules_across_fields_are_one_line(tmp_path: Path) -> None:
    path = write(tmp_path, "recipe:\n  losses: {}\n  label_weight: 0\n")
    assert complaint(path) == (
        f"{path}:1: recipe: label_weight is 0 and no teacher loss has a weight above 0: nothing would be learned"
    )
    assert complaint(write(tmp_path, "objectives: [gap_points]\n")).startswith(f"{path}:1: objectives: 1 given")
    assert "teacher.model is not given" in complaint(None, "data.source=folder:x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("recipe: {epochs: 1\nseed", r":2:\d+: is no YAML"),
        ("seed: 1\nrecipe: {}\nseed: 2\n", ":3: 'seed' is given twice \\(first in line 1\\); keep one"),
        ("recipe:\n  epochs: 1\n  epochs: 2\n", ":3: 'recipe.epochs' is given twice"),
        ("- seed\n", ":1: is not a mapping"),
        ("seed: 1\n3: x\n", ":2: the key '3' is not a name"),
        ("data: &a\n  root: *a\n", ":1: an anchor contains itself"),
        ("teacher: {arguments: {x: &a [*a]}}\n", ":1: an anchor contains itself"),
        ("recipe: 3\n", ":1: recipe should be a mapping .*found 3"),
        ("recipe: {losses: {kd: 3}}\n", ":1: recipe.losses.kd should be a mapping .*found 3"),
        ("recipe:\n  losses:\n    kd: {weight: .nan}\n", ":3: recipe.losses.kd.weight should be a finite"),
        ("seed: !!python/object/apply:os.getcwd []\n", ":1:7: is no YAML: could not determine a constructor"),
        ("seed: \x00\n", "is no YAML"),
        ("a: 1\n---\nb: 2\n", "is no YAML: but found another document"),
    ],
)  # fmt: skip
def test_bad_files_are_refused_with_their_place(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=expected) as caught:
        load_config(path)
    assert str(caught.value).startswith(str(path))


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in complaint(tmp_path / "none.yaml")
    assert "cannot be read: Is a directory" in complaint(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("seed: 1 # \xe9".encode("latin-1"))
    assert "is not UTF-8 text (byte 10)" in complaint(tmp_path / "latin.yaml")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed", "is not KEY=VALUE"),
        ("=1", "is not KEY=VALUE"),
        ("recipe..epochs=1", "is not KEY=VALUE"),
        ("seed=[1", "the value is no YAML"),
        ("data.source.x=1", "'data.source' is a value ('digits'), not a section; set 'data.source' itself"),
        ("recipe.losses.dist.weight.x=1", "'recipe.losses.dist.weight' is a value (1.0), not a section"),
        ("dta.source=x", "unknown key 'dta'; did you mean 'data'?"),
        ("recipe.losses=3", "recipe.losses should be a mapping"),
        ("recipe.losses={kd: {}, kd: {temperature: 2}}", "'recipe.losses.kd' is given twice; keep one"),
        ("recipe={epochs: 1, epochs: 2}", "'recipe.epochs' is given twice; keep one"),
        ("teacher.arguments.x=&a [*a]", "an anchor contains itself; write the values out"),
        ("seed=true", "seed should be a number, not true or false"),
        ("recipe.learning_rate=yes", "recipe.learning_rate should be a number, not true or false"),
        ("recipe.losses.dist.weight=true", "recipe.losses.dist.weight should be a number, not true or false"),
        ("budget.trials=on", "budget.trials should be a number, not true or false"),
        ("asha.rungs=[true, 2]", "asha.rungs.0 should be a number, not true or false"),
        ("resources.gpus_per_trial=false", "resources.gpus_per_trial should be a number, not true or false"),
        ("objectives=gap_points", "objectives should be a list, such as [gap_points, num_params]; found 'gap_points'"),
        ("views.mixes=mixup", "views.mixes should be a list, such as [none, mixup]; found 'mixup'"),
        ("asha.rungs=3", "asha.rungs should be a list, such as [3, 10]; found 3"),
    ],
)
def test_bad_overrides_are_refused(override: str, expected: str) -> None:
    assert complaint(None, override).startswith(f"--set {override}: ")
    assert expected in complaint(None, override)


def test_each_wrong_number_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: true\nrecipe:\n  batch_size: no\n  epochs: 0\n")
    assert sorted(complaint(path).splitlines()) == [
        f"{path}:1: seed should be a number, not true or false",
        f"{path}:3: recipe.batch_size should be a number, not true or false",
        f"{path}:4: recipe.epochs should be greater than 0; found 0",
    ]


def test_true_and_false_are_values_where_they_are_meant() -> None:
    overrides = ["data.download=true", "views.flip=false", "teacher.arguments={a: true, b: [false, 1], c: {d: true}}"]
    config = load_config(None, overrides)
    assert (config.data.download, config.views.flip) == (True, False)
    assert config.teacher.arguments == {"a": True, "b": (False, 1), "c": {"d": True}}


def test_every_list_has_an_example_that_it_takes() -> None:
    fields = {key: field_at(key) for key in all_keys()}
    lists = [key for key, field in fields.items() if field is not None and "tuple[" in str(field.annotation)]
    assert {".".join(key) for key in lists} == {"asha.rungs", "objectives", "views.mixes"}
    for key in lists:
        beside = ["space.recipe=search"] if key[0] == "views" else []
        load_config(None, [f"{'.'.join(key)}={example(key)}", *beside])


def test_a_value_is_told_once() -> None:
    assert complaint(None, "sampler.name=tpee").count("'tpee'") == 1


def test_an_assignment_keeps_later_equal_signs() -> None:
    assert parse_assignment("resources.storage=postgresql://h/d?a=b", flag="--set") == (
        ("resources", "storage"),
        "postgresql://h/d?a=b",
    )


texts = st.sampled_from(["1e-3", "1", "yes", "null", "a: b", "#x", "é", "", "~", "2E5", "0x1", "12:30:45"])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(
    arguments=st.dictionaries(texts, values, max_size=4),
    rate=st.floats(1e-12, 1e6),
    seed=st.integers(0, 2**31),
)
def test_what_is_dumped_reads_back_equal(
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


def test_a_run_gives_its_configuration_back(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(RunError, match="holds no run"):
        read_run_config(run)
    config = load_config(None, ["seed=7", "recipe.losses={dkd: {alpha: 2}}"])
    run.config.write_text(dump_config(config), encoding="utf-8")
    assert read_run_config(run) == config
    run.config.write_text("sead: 7\n", encoding="utf-8")
    with pytest.raises(RunError, match=r"config.yaml:1: unknown key 'sead'.*the run's memory"):
        read_run_config(run)
