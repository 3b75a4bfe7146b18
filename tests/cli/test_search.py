from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from nas_distill.cli import search, teacher
from nas_distill.cli.options import ConfigFlag
from nas_distill.config import SearchConfig
from nas_distill.config.loading import dump_config
from nas_distill.errors import ConfigError, RunError, TeacherError
from nas_distill.run_directory.config import default_folder
from tests.cli.shell import error_of


def options_of(command: click.Command) -> list[str]:
    return sorted(name for parameter in command.params for name in parameter.opts)


def default_of(flag: ConfigFlag) -> object:
    value: object = SearchConfig()
    for part in flag.key.split("."):
        value = getattr(value, part)
    return value


def test_the_defaults_in_help_equal_the_defaults_of_the_configuration() -> None:
    for flag in dict.fromkeys((*search.FLAGS, *teacher.FLAGS)):
        default = default_of(flag)
        if default is None or default is False:
            assert flag.default == "", flag.name
        else:
            assert flag.default == (",".join(default) if isinstance(default, tuple) else str(default)), flag.name


def test_help_is_one_short_line_per_flag() -> None:
    for flag in dict.fromkeys((*search.FLAGS, *teacher.FLAGS)):
        text = flag.help.partition("  [default: ")[0]
        assert "\n" not in text
        assert text.endswith("."), flag.name
        assert len(text) <= 80, flag.name


def test_flags_reach_their_keys() -> None:
    parameters = {flag.parameter: None for flag in search.FLAGS}
    given = {
        "objectives": "agreement, macs",
        "trials": 3,
        "trust_pickle": True,
        "gap_tolerance": -0.5,
        "initial_weights": "random, pretrained",
    }
    config = search._config(None, ("recipe.losses.dist.temperature=3",), {**parameters, **given})
    assert config == SearchConfig.model_validate({
        "objectives": ["agreement", "macs"],
        "budget": {"trials": 3},
        "space": {"initial_weights": ["random", "pretrained"]},
        "teacher": {"trust_pickle": True},
        "picks": {"gap_tolerance_points": -0.5},
        "recipe": {"losses": {"dist": {"weight": 1.0, "temperature": 3}}},
    })  # fmt: skip


def test_a_folder_with_a_run_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(dump_config(SearchConfig()), encoding="utf-8")
    error = error_of("search", "--out", tmp_path)
    assert isinstance(error, RunError)
    assert (error.code, error.field) == ("cli.run_exists", "--out")
    assert f"--resume {tmp_path}" in str(error)


def test_a_file_as_folder_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    error = error_of("search", "--out", file)
    assert isinstance(error, RunError)
    assert (error.code, error.field) == ("cli.not_a_folder", "--out")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--seed", "1"], "--seed"),
        (["--data", "digits", "--trials", "9", "--epochs", "2"], "--data, --epochs"),
        (["--storage", "sqlite:///x"], "--storage"),
        (["--online-teacher"], "--online-teacher"),
        (["--set", "seed=1", "--out", "x", "--config", "y"], "--config, --set, --out"),
    ],
)
def test_resume_rejects_flags_that_cannot_change(arguments: list[str], names: str) -> None:
    error = error_of("search", "--resume", "somewhere", *arguments)
    assert isinstance(error, ConfigError)
    assert (error.code, error.field) == ("cli.not_with_resume", names)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["--assistants", "-1"], "assistants.count"),
        (["--folds", "1"], "picks.folds"),
        (["--teacher", "run:runs/first"], "teacher.model"),
        (["--teacher", "run:runs/first/last"], "teacher.model"),
        (["--teacher", "run:no/such/run/3", "--out", "{out}"], "teacher.model"),
    ],
)
def test_an_impossible_search_is_an_error_at_its_field(arguments: list[str], field: str, tmp_path: Path) -> None:
    error = error_of("search", *(text.format(out=tmp_path / "run") for text in arguments))
    assert isinstance(error, ConfigError | TeacherError)
    assert error.field == field


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["search", "--resume", "{run}", "--trials", "0"], "budget.trials"),
        (["search", "--resume", "{run}", "--sampler", "tpee"], "sampler.name"),
        (["search", "--resume", "{run}", "--cpus-per-trial", "0"], "resources.cpus_per_trial"),
        (["confirm", "{run}", "--cpus-per-trial", "0"], "resources.cpus_per_trial"),
    ],
)
def test_errors_of_an_existing_run_name_key_and_flag(arguments: list[str], field: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(dump_config(SearchConfig()), encoding="utf-8")
    error = error_of(*(text.format(run=tmp_path) for text in arguments))
    assert isinstance(error, ConfigError)
    assert error.field == field
    assert arguments[-2] in str(error)


@pytest.mark.parametrize("arguments", [["search", "--resume"], ["confirm"]])
def test_a_damaged_configuration_is_a_fault_of_the_run_with_any_flags(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seeed: 1\n", encoding="utf-8")
    error = error_of(*arguments, tmp_path, "--max-parallel", "1")
    assert isinstance(error, RunError)
    assert "config.yaml" in str(error)


def test_resume_takes_trials_and_resources() -> None:
    parameters = {flag.parameter: None for flag in search.FLAGS}
    given = {
        "trials": 32,
        "time_budget": "2h",
        "sampler": "nsga2",
        "assistants": 2,
        "folds": 5,
        "gpus_per_trial": 0.25,
        "max_parallel": 2,
    }
    assert search._resume_values({**parameters, **given}, {"--out": None}) == {
        "budget.trials": 32,
        "budget.time_s": "2h",
        "sampler.name": "nsga2",
        "assistants.count": 2,
        "picks.folds": 5,
        "resources.gpus_per_trial": 0.25,
        "resources.max_parallel_trials": 2,
    }


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("digits", "digits"),
        ("folder:/data/my photos", "my-photos"),
        ("folder:photos/", "photos"),
        ("torch/cifar10", "cifar10"),
        ("folder:..", "data"),
    ],
)
def test_the_default_folder_names_the_data(source: str, name: str) -> None:
    folder = default_folder(source)
    assert folder.parent == Path("runs")
    assert re.fullmatch(rf"{name}-\d{{8}}-\d{{6}}", folder.name)


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (["search", "--out", ""], "--out"),
        (["search", "--resume", " "], "--resume"),
        (["teacher", "--model", "resnet18", "--out", ""], "--out"),
    ],
)
def test_an_empty_path_is_not_the_current_folder(
    arguments: list[str], flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = error_of(*arguments)
    assert isinstance(error, ConfigError)
    assert (error.code, error.field) == ("cli.empty_path", flag)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["layers", "layers=[1"])
def test_model_arguments_must_be_pairs_of_name_and_value(text: str) -> None:
    error = error_of("teacher", "--model", "resnet18", "--out", "x", "--model-arg", text)
    assert isinstance(error, ConfigError)
    assert "--model-arg" in str(error)
    assert text in str(error)


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        (["--model", "resnet18", "--pretrained", "--checkpoint", "w.safetensors"], "--pretrained"),
        (["--model", "resnet18", "--checkpoint", "w.safetensors"], "teacher.checkpoint"),
        (["--model", "local-dir:t", "--model-arg", "layers=[1,1,1,1]"], "teacher.model"),
    ],
)
def test_initial_weights_that_a_teacher_cannot_use_are_an_error(
    flags: list[str], field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = error_of("teacher", "--out", "x", *flags)
    assert isinstance(error, TeacherError)
    assert error.field == field
