from __future__ import annotations

import inspect
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nas_distill import __version__, errors
from nas_distill.cli import VERBS, main
from tests.cli.shell import run_cli

HEAVY = {"torch", "torchvision", "ray", "optuna", "timm", "pandas", "numpy", "pydantic", "sklearn", "rich"}
DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


@pytest.mark.parametrize("arguments", [("--help",), *((verb, "--help") for verb in VERBS), ("--version",)])
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    code = (
        "import json, sys; from nas_distill.cli import main\n"
        f"code = main({list(arguments)!r})\n"
        "print(json.dumps([code, sorted({name.partition('.')[0] for name in sys.modules})]))"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    exit_code, modules = json.loads(child.stdout.splitlines()[-1])
    assert exit_code == 0
    assert HEAVY & set(modules) == set()


def test_no_verb_is_help() -> None:
    assert run_cli().stdout == run_cli("--help").stdout
    assert "Usage: " in run_cli("spaces").stdout


def test_help_lists_every_verb_with_a_whole_sentence() -> None:
    commands = run_cli("--help").stdout.partition("Commands:")[2].partition("\n\n")[0].strip().splitlines()
    assert [line.split()[0] for line in commands] == list(VERBS)
    assert all(line.endswith(".") and not line.endswith("...") for line in commands)


def test_version() -> None:
    assert run_cli("--version").stdout.strip() == f"nas_distill, version {__version__}"


def test_a_user_error_is_one_line_and_the_code_of_its_class() -> None:
    child = run_cli("search", "--set", "recipe.epochz=3")
    assert child.returncode == errors.ConfigError.exit_status
    assert child.stdout == ""
    assert child.stderr.startswith("error: recipe.epochz: unknown key; did you mean 'epochs'?")
    assert child.stderr.endswith("(in --set recipe.epochz=3)  [config.unknown_key]\n")
    assert child.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("serch",), "No such command 'serch'; did you mean 'search'? known: confirm, "),
        (("search", "--trails", "3"), "No such option '--trails'"),
        (("search", "--trials", "x"), "Invalid value for '--trials': 'x' is not a valid integer"),
        (
            ("search", "--gpus-per-trial", "abc"),
            "Invalid value for '--gpus-per-trial': 'abc' must be auto, or a number ",
        ),
        (
            ("search", "--time-budget", "8"),
            "Invalid value for '--time-budget': '8' ends in a number without a unit; give a unit: 8h, 8m or 8s",
        ),
        (("search", "--time-budget", "1h30"), "Invalid value for '--time-budget': '1h30' ends in a number without"),
        (("search", "--resume", "r", "--time-budget", "1.5"), "Invalid value for '--time-budget': '1.5' ends in"),
        (("teacher", "--out", "x"), "Missing option '--model'"),
        (("spaces", "sample", "tiny", "-n", "0"), "Invalid value for '-n' / '--number'"),
    ],
)
def test_a_wrong_command_line_is_one_line_with_the_way_to_help(
    arguments: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {expected}")
    assert re.search(r"; see `.* --help`\n$", captured.err)
    assert "Traceback" not in captured.err


def test_several_broken_rules_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--trials", "0", "--epochs", "0"]) == 2
    lines = sorted(capsys.readouterr().err.splitlines())
    assert [(line.split(": ")[1], line.rsplit("  ", 1)[1]) for line in lines] == [
        ("budget.trials", "[config.invalid_value]"),
        ("recipe.epochs", "[config.invalid_value]"),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("report", "{name}"), "{name}/config.yaml: cannot be read: File name too long; check the path"),
        (("search", "--out", "{name}"), "--out {name}: cannot be read: File name too long; check the path"),
        (("teacher", "--model", "small_resnet", "--out", "{name}"), "{name}/metrics.json: File name too long; check"),
    ],
)
def test_a_path_that_the_system_refuses_is_one_line(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "n" * 300
    assert main([text.format(name=name) for text in arguments]) == errors.RunError.exit_status
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("error: ", "Traceback"))]
    assert len(lines) == 1
    assert lines[0].startswith(f"error: {message.format(name=name)}")


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_ends_as_an_interruption(tmp_path: Path, stop: signal.Signals) -> None:
    pipe = tmp_path / "config.yaml"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "nas_distill", "search", "--config", str(pipe)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        with pipe.open("w"):  # opens when the verb begins to read its configuration, and keeps it waiting
            child.send_signal(stop)
            child.wait(timeout=60)
        assert child.stderr is not None
        assert child.stderr.read().strip() == "error: interrupted"
    assert child.returncode == errors.EXIT_INTERRUPTED


def test_a_closed_pipe_is_no_traceback() -> None:
    command = f"{sys.executable} -m nas_distill spaces show resnet | true"
    child = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in child.stderr


def test_the_documented_exit_codes_are_those_of_the_classes() -> None:
    rows = re.findall(r"^\| (\d+) \| `?(\w*)`? ?\|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    documented = {name: int(code) for code, name in rows if name}
    classes = {
        name: item.exit_status
        for name, item in inspect.getmembers(errors, inspect.isclass)
        if issubclass(item, errors.NasDistillError)
    }
    assert documented == classes
    assert len(set(classes.values())) == len(classes)
    assert {int(code) for code, name in rows if not name} == {0, errors.EXIT_INTERRUPTED}


def test_every_verb_is_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for verb in VERBS:
        assert f"| `{verb}" in text
