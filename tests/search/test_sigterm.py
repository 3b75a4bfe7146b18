"""SIGTERM in every phase of a search and a confirmation, sent once Ray is up."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from nas_distill.config import LOCAL_DIR
from nas_distill.run_directory.layout import RunDirectory
from tests.helpers import SmallRun
from tests.search import processes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SEARCH = ["--data", "digits", "--max-train-images", "160", "--trials", "1", "--epochs", "60", "--asha", "none"]


def terminate(
    arguments: list[str], log: Path, text: str, searches: list[subprocess.Popen[bytes]], verb: str = "search"
) -> None:
    """Start a command, and send SIGTERM once it has printed `text`."""
    log.write_text("")
    process = processes.start(arguments, log, verb=verb)
    searches.append(process)
    processes.wait_for(lambda: text in log.read_text(), process, log, timeout_s=120)
    sent = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 130, log.read_text()
    print(f"{verb}, '{text}': exit status 130 after {time.monotonic() - sent:.1f} s")
    assert "Traceback" not in log.read_text()
    assert "SIGTERM" not in log.read_text()  # Ray's own handler prints a stack trace


def last_event(run: RunDirectory) -> str:
    return str(list(run.read_events())[-1]["event"])


def test_sigterm_ends_every_phase_with_130_and_a_command_that_continues(
    small_run: SmallRun, tmp_path: Path, searches: list[subprocess.Popen[bytes]]
) -> None:
    log = tmp_path / "log"
    for name, teacher, phases in (
        ("own", [], ("decoding train images", "training small_resnet")),
        ("given", ["--teacher", f"{LOCAL_DIR}{small_run.run.teacher}"], ("running the teacher on", "trials to run")),
    ):
        run = RunDirectory(tmp_path / name)
        for text in phases:
            arguments = (
                ["--resume", str(run.path)] if run.path.exists() else [*SEARCH, *teacher, "--out", str(run.path)]
            )
            terminate(arguments, log, text, searches)
            assert f"to resume: python -m nas_distill search --resume {run.path}" in log.read_text()
            assert last_event(run) == "interrupted"

    finished = processes.start(["--resume", str(run.path)], log)
    searches.append(finished)
    assert finished.wait(timeout=300) == 0, log.read_text()
    terminate([str(run.path)], log, "test split is opened", searches, verb="confirm")
    assert f"to continue: python -m nas_distill confirm {run.path}" in log.read_text()
    assert last_event(run) == "interrupted"
