"""A search as a process of its own: killed workers, Ctrl-C, and how it goes on."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from nas_distill.analysis.trials.study_reader import load_frame
from nas_distill.config import LOCAL_DIR
from nas_distill.run_directory.layout import RunDirectory
from tests.helpers import SmallRun
from tests.search import processes

EPOCHS = 30


def results(run: RunDirectory) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in run.trials.glob("*/result.json")}


def in_flight(run: RunDirectory) -> dict[str, int]:
    """Epochs on disk of every trial that has a checkpoint."""
    return {
        path.parent.parent.name: len((path.parent.parent / "epochs.jsonl").read_text().splitlines())
        for path in run.trials.glob("*/checkpoint/state.safetensors")
    }


@pytest.mark.timeout(600)
def test_killed_worker_interrupted_driver_resume(
    small_run: SmallRun, tmp_path: Path, searches: list[subprocess.Popen[bytes]]
) -> None:
    run, log = RunDirectory(tmp_path / "run"), tmp_path / "log"
    arguments = [
        "--data", "digits", "--teacher", f"{LOCAL_DIR}{small_run.run.teacher}", "--trials", "5",
        "--epochs", str(EPOCHS), "--batch-size", "16", "--max-train-images", "160",
        "--set", "data.max_validation_images=80",
        "--cpus-per-trial", "0.5", "--max-parallel", "2", "--asha", "none", "--out", str(run.path),
        "--set", "resources.checkpoint_interval_s=0",
    ]  # fmt: skip
    search = processes.start(arguments, log)
    searches.append(search)

    # kill -9 of all workers: their trials go on from their checkpoints in new ones.
    processes.wait_for(lambda: any(epochs >= 3 for epochs in in_flight(run).values()), search, log)
    assert processes.listeners(search.pid) > 0
    assert processes.outward_listeners(search.pid) == []
    killed = set(in_flight(run))
    workers = processes.workers(search.pid)
    assert workers
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    processes.wait_for(lambda: killed <= set(results(run)) and bool(in_flight(run)), search, log)
    for name in killed:
        record = run.trial(int(name)).read_record()
        assert record is not None
        assert record.execution.resumptions == 1
        assert [point.epoch for point in record.curve] == list(range(1, EPOCHS + 1))

    # Ctrl-C of the driver: ends soon, cleanly, and says how to go on.
    os.killpg(search.pid, signal.SIGINT)
    assert search.wait(timeout=60) == 130
    assert f"--resume {run.path}" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert processes.descendants(search.pid) == {search.pid}
    before, flying = results(run), set(in_flight(run))
    assert len(before) < 5

    resumed = processes.start(["--resume", str(run.path)], log)
    searches.append(resumed)
    assert resumed.wait(timeout=300) == 0, log.read_text()
    assert "Pareto front" in log.read_text()
    after = results(run)
    assert len(after) == 5
    assert {name: after[name] for name in before} == before  # none trained again
    for name in flying:
        record = run.trial(int(name)).read_record()
        assert record is not None
        assert record.execution.resumptions >= 1
        assert len(record.curve) == EPOCHS
    frame = load_frame(run)
    assert sorted(frame["number"]) == sorted(int(name) for name in after)
    assert (frame["status"] == "complete").all()
    assert TrialState.RUNNING not in [
        row.state for row in optuna.load_study(study_name="nas_distill", storage=run.own_storage).trials
    ]
    assert (run.report / "index.html").exists()
