from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from nas_distill.cli import doctor, main, search, teacher
from nas_distill.cli.options import ConfigFlag
from nas_distill.config import SearchConfig
from nas_distill.config.loading import dump_config
from nas_distill.errors import ConfigError, RunError, TeacherError
from nas_distill.records.base import Record

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"

SEARCH_OPTIONS = [
    "--address",
    "--asha",
    "--assistants",
    "--batch-size",
    "--config",
    "--cpus-per-trial",
    "--data",
    "--data-root",
    "--epoch-budget",
    "--epochs",
    "--folds",
    "--gap-tolerance",
    "--gpus-per-trial",
    "--image-size",
    "--initial-points",
    "--learning-rate",
    "--max-latency-ms",
    "--max-macs",
    "--max-parallel",
    "--max-params",
    "--max-size-bytes",
    "--max-train-images",
    "--objectives",
    "--online-teacher",
    "--out",
    "--patience",
    "--recipe",
    "--resume",
    "--sampler",
    "--seed",
    "--set",
    "--space",
    "--storage",
    "--teacher",
    "--teacher-checkpoint",
    "--time-budget",
    "--trials",
    "--trust-pickle",
]
TEACHER_OPTIONS = [
    "--batch-size",
    "--checkpoint",
    "--config",
    "--data",
    "--data-root",
    "--epochs",
    "--image-size",
    "--learning-rate",
    "--max-train-images",
    "--model",
    "--model-arg",
    "--out",
    "--pretrained",
    "--seed",
    "--set",
    "--trust-pickle",
]


def options_of(command: click.Command) -> list[str]:
    return sorted(name for parameter in command.params for name in parameter.opts)


def default_of(flag: ConfigFlag) -> object:
    value: object = SearchConfig()
    for part in flag.key.split("."):
        value = getattr(value, part)
    return value


def test_the_surface_is_frozen() -> None:
    assert options_of(search.command) == SEARCH_OPTIONS
    assert options_of(teacher.command) == TEACHER_OPTIONS


@pytest.mark.parametrize(
    "flag", dict.fromkeys((*search.FLAGS, *teacher.FLAGS)), ids=lambda flag: f"{flag.name}={flag.key}"
)
def test_the_defaults_in_help_are_those_of_the_configuration(flag: ConfigFlag) -> None:
    default = default_of(flag)
    if default is None or default is False:
        assert flag.default == ""
    else:
        assert flag.default == (",".join(default) if isinstance(default, tuple) else str(default))


def test_the_documented_flags_are_those_that_exist() -> None:
    text = DOCS.read_text(encoding="utf-8")
    table = text.partition("## `search`")[2].partition("## `teacher`")[0]
    rows = re.findall(r"^\| `(--[\w-]+)` \| `([\w.]+)` \| (.*?) ?\|$", table, re.MULTILINE)
    assert {(name, key) for name, key, _ in rows} == {(flag.name, flag.key) for flag in search.FLAGS}
    shown = {flag.name: flag.default for flag in search.FLAGS if flag.default}
    documented = {name: default for name, _, default in rows if name in shown}
    assert {**documented, "--data": "digits"} == shown
    for option in SEARCH_OPTIONS:
        assert f"`{option}" in table


def test_every_section_and_option_of_doctor_is_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    (listed,) = re.findall(r"^- A section \((.*?)\) is merged", text, re.MULTILINE | re.DOTALL)
    sections = [name for name, part in SearchConfig() if isinstance(part, Record)]
    assert set(re.findall(r"`(\w+)`", listed)) == set(sections)
    (row,) = re.findall(r"^\| `doctor.*$", text, re.MULTILINE)
    assert all(option in row for option in options_of(doctor.command))


def test_flags_reach_their_keys() -> None:
    parameters = {flag.parameter: None for flag in search.FLAGS}
    given = {"objectives": "agreement, macs", "trials": 3, "trust_pickle": True, "gap_tolerance": -0.5}
    config = search._config(None, ("recipe.losses.dist.temperature=3",), {**parameters, **given})
    assert config == SearchConfig.model_validate({
        "objectives": ["agreement", "macs"],
        "budget": {"trials": 3},
        "teacher": {"trust_pickle": True},
        "picks": {"gap_tolerance_points": -0.5},
        "recipe": {"losses": {"dist": {"weight": 1.0, "temperature": 3}}},
    })  # fmt: skip


def test_a_folder_with_a_run_is_refused_with_the_way_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text(dump_config(SearchConfig()), encoding="utf-8")
    assert main(["search", "--out", str(tmp_path)]) == RunError.exit_status
    assert capsys.readouterr().err == (
        f"error: --out {tmp_path}: already holds a run; "
        f"go on with it by `--resume {tmp_path}` or choose another folder\n"
    )


def test_a_file_as_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["search", "--out", str(tmp_path / "file")]) == RunError.exit_status
    assert "is a file" in capsys.readouterr().err


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
def test_resume_refuses_what_a_run_keeps(arguments: list[str], names: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--resume", "somewhere", *arguments]) == ConfigError.exit_status
    assert capsys.readouterr().err.startswith(f"error: {names}: cannot be given with --resume")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--assistants", "-1"], "--assistants: assistants.count should be greater than or equal to 0; found -1"),
        (["--folds", "1"], "--folds: "),
        (["--teacher", "run:runs/first"], "--teacher: "),
        (["--teacher", "run:runs/first/last"], "--teacher: "),
        (["--teacher", "run:no/such/run/3", "--out", "{out}"], "teacher.model: "),
    ],
)
def test_what_no_search_can_do_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [text.format(out=tmp_path / "run") for text in arguments]
    assert main(["search", *given]) in {ConfigError.exit_status, TeacherError.exit_status}
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "--resume", "{run}", "--trials", "0"], "--trials: budget.trials should be greater than 0; found 0"),
        (["search", "--resume", "{run}", "--sampler", "tpee"], "--sampler: sampler.name: 'tpee' is no shipped sampler"),
        (["search", "--resume", "{run}", "--cpus-per-trial", "0"], "--cpus-per-trial: resources.cpus_per_trial should"),
        (["confirm", "{run}", "--cpus-per-trial", "0"], "--cpus-per-trial: resources.cpus_per_trial should be greater"),
    ],
)
def test_errors_name_the_flags_that_go_on_with_a_run(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text(dump_config(SearchConfig()), encoding="utf-8")
    assert main([text.format(run=tmp_path) for text in arguments]) == ConfigError.exit_status
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {message}")


@pytest.mark.parametrize("arguments", [["search", "--resume"], ["confirm"]])
def test_a_damaged_configuration_is_a_fault_of_the_run_whatever_flags_are_given(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("seeed: 1\n", encoding="utf-8")
    assert main([*arguments, str(tmp_path), "--max-parallel", "1"]) == RunError.exit_status
    assert "this file is the run's memory" in capsys.readouterr().err


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
    folder = search._default_folder(source)
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
def test_an_empty_path_is_not_taken_for_the_current_folder(
    arguments: list[str], flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == ConfigError.exit_status
    assert capsys.readouterr().err == f"error: {flag}: is empty; give the name of a folder, such as runs/digits\n"
    assert not list(tmp_path.iterdir())


def test_model_arguments_are_checked_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["teacher", "--model", "resnet18", "--out", "x", "--model-arg", "layers"]) == 2
    assert capsys.readouterr().err == (
        "error: --model-arg layers: is not KEY=VALUE; write, for example, --model-arg layers=[2,2,2,2]\n"
    )
    assert main(["teacher", "--model", "resnet18", "--out", "x", "--model-arg", "layers=[1"]) == 2
    assert capsys.readouterr().err.startswith("error: --model-arg layers=[1: the value is no YAML")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (
            ["--model", "resnet18", "--pretrained", "--checkpoint", "w.safetensors"],
            "--pretrained: teacher.checkpoint=w.safetensors also provides weights; leave out one of the two",
        ),
        (["--model", "resnet18", "--checkpoint", "w.safetensors"], "teacher.checkpoint: w.safetensors is not a file"),
        (
            ["--model", "local-dir:t", "--model-arg", "layers=[1,1,1,1]"],
            "teacher.model: 'local-dir:t' includes its weights and arguments; leave out ",
        ),
    ],
)
def test_weights_that_a_teacher_cannot_begin_with_are_told(
    flags: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["teacher", "--out", "x", *flags]) == TeacherError.exit_status
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {expected}")
