from __future__ import annotations

import errno
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
from tests.cli.surface import SNAPSHOT, surface

HEAVY = {"torch", "torchvision", "ray", "optuna", "timm", "pandas", "numpy", "pydantic", "sklearn", "rich"}


def test_help_imports_nothing_heavy() -> None:
    lines = [["--help"], *([verb, "--help"] for verb in VERBS), ["--version"]]
    code = (
        "import json, sys; from nas_distill.cli import main\n"
        f"codes = [main(line) for line in {lines!r}]\n"
        "print(json.dumps([codes, sorted({name.partition('.')[0] for name in sys.modules})]))"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    codes, modules = json.loads(child.stdout.splitlines()[-1])
    assert codes == [0] * len(lines)
    assert HEAVY & set(modules) == set()


def test_the_command_line_surface_is_frozen() -> None:
    assert surface() == SNAPSHOT.read_text(encoding="utf-8"), "if intended, run python -m tests.cli.surface"


def test_a_call_without_a_verb_shows_help() -> None:
    assert run_cli().stdout == run_cli("--help").stdout


def test_spaces_without_a_verb_lists_the_shipped_spaces() -> None:
    assert run_cli("spaces").stdout == run_cli("spaces", "list").stdout


def test_help_lists_every_verb_with_a_whole_sentence() -> None:
    commands = run_cli("--help").stdout.partition("Commands:")[2].partition("\n\n")[0].strip().splitlines()
    assert [line.split()[0] for line in commands] == list(VERBS)
    assert all(line.endswith(".") and not line.endswith("...") for line in commands)


def test_version() -> None:
    assert run_cli("--version").stdout.strip() == f"nas_distill, version {__version__}"


def test_a_user_error_is_one_line_with_the_exit_status_of_its_class() -> None:
    child = run_cli("search", "--set", "recipe.epochz=3")
    assert child.returncode == errors.ConfigError.exit_status
    assert child.stdout == ""
    assert child.stderr.startswith("error: recipe.epochz: ")
    assert "--set recipe.epochz=3" in child.stderr
    assert child.stderr.endswith("  [config.unknown_key]\n")
    assert child.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (("serch",), ("'serch'", "'search'")),
        (("search", "--trails", "3"), ("--trails",)),
        (("search", "--trials", "x"), ("--trials", "'x'")),
        (("search", "--gpus-per-trial", "abc"), ("--gpus-per-trial", "'abc'")),
        (("search", "--time-budget", "8"), ("--time-budget", "8h, 8m or 8s")),
        (("search", "--time-budget", "1h30"), ("--time-budget", "30h, 30m or 30s")),
        (("search", "--resume", "r", "--time-budget", "1.5"), ("--time-budget", "1.5h")),
        (("teacher", "--out", "x"), ("--model",)),
        (("spaces", "sample", "tiny", "-n", "0"), ("--number",)),
    ],
)
def test_a_wrong_command_line_is_one_line_that_points_to_help(
    arguments: tuple[str, ...], values: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert all(value in captured.err for value in values)
    assert re.search(r"; see `.* --help`  \[cli\.usage\]\n$", captured.err)
    assert captured.err.count("\n") == 1


def test_several_broken_rules_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--trials", "0", "--epochs", "0"]) == 2
    lines = sorted(capsys.readouterr().err.splitlines())
    assert [line.split(": ")[:2] for line in lines] == [["error", "budget.trials"], ["error", "recipe.epochs"]]


@pytest.mark.parametrize(
    "arguments",
    [("report", "{name}"), ("search", "--out", "{name}"), ("teacher", "--model", "small_resnet", "--out", "{name}")],
)
def test_a_path_that_the_system_rejects_is_one_line(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    name = "n" * 300
    assert main([text.format(name=name) for text in arguments]) == errors.RunError.exit_status
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("error: ", "Traceback"))]
    assert len(lines) == 1
    assert name in lines[0]
    assert os.strerror(errno.ENAMETOOLONG) in lines[0]


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
