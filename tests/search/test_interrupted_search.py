"""A search in a process of its own: killed workers, Ctrl-C, SIGTERM, and resumption."""

from __future__ import annotations

import os
import signal
import subprocess
import textwrap
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from nas_distill.analysis.trials.study_reader import load_frame
from nas_distill.config import LOCAL_DIR
from nas_distill.run_directory.layout import RunDirectory
from tests.helpers import SmallRun
from tests.search import processes

EPOCHS = 6

# Workers import the file of the space, so it can inject faults at a known point: after the checkpoint of epoch 3. The
# first trials that get there kill their worker, and a later one waits to be interrupted, each once.
SPACE = """
    import os
    import signal
    import time
    from pathlib import Path

    from nas_distill.trial import run
    from search_spaces.tiny import space

    DEATHS, WAITING = {deaths}, {waiting}
    folder = Path(__file__).parent
    save_state = run.save_state

    def save_and_fail(path, state):
        save_state(path, state)
        trial = path.parent.parent
        if len((trial / "epochs.jsonl").read_text().splitlines()) != 3 or list(folder.glob("*-" + trial.name)):
            return
        place = 0
        while True:
            try:
                (folder / ("place-" + str(place))).open("x").close()
                break
            except FileExistsError:
                place += 1
        (folder / (str(place) + "-" + trial.name)).touch()
        if place < DEATHS:
            os.kill(os.getpid(), signal.SIGKILL)
        if place == WAITING:
            (folder / ("waiting-" + str(os.getpid()))).touch()
            time.sleep(600)

    run.save_state = save_and_fail
"""


def results(run: RunDirectory) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in run.trials.glob("*/result.json")}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "size",
    [(2, 1, 1), pytest.param((5, 2, 2), marks=pytest.mark.slow)],
    ids=["one worker", "two workers"],
)
def test_a_search_survives_killed_workers_and_ends_early_on_a_signal(
    small_run: SmallRun,
    tmp_path: Path,
    searches: list[subprocess.Popen[bytes]],
    forks: str,
    size: tuple[int, int, int],
) -> None:
    trials, parallel, deaths = size
    waiting = trials - parallel  # so that at least one trial has ended by then
    run, log, space = RunDirectory(tmp_path / "run"), tmp_path / "log", tmp_path / "space" / "faulty.py"
    space.parent.mkdir()
    space.write_text(textwrap.dedent(SPACE.format(deaths=deaths, waiting=waiting)))
    arguments = [
        "--data", "digits", "--teacher", f"{LOCAL_DIR}{small_run.run.teacher}", "--space", str(space),
        "--trials", str(trials), "--epochs", str(EPOCHS), "--batch-size", "16", "--max-train-images", "160",
        "--set", "data.max_validation_images=80", "--set", "resources.checkpoint_interval_s=0",
        "--cpus-per-trial", "0.5", "--max-parallel", str(parallel), "--asha", "none", "--out", str(run.path),
    ]  # fmt: skip
    server = forks if parallel == 1 else None  # the slow test has Ray's own workers
    search = processes.start(arguments, log, forks=server)
    searches.append(search)
    processes.wait_for(lambda: any(space.parent.glob("waiting-*")), search, log, timeout_s=400)
    (worker,) = space.parent.glob("waiting-*")
    started = processes.descendants(search.pid) | {int(worker.name.partition("-")[2])}
    assert processes.listeners(search.pid) > 0
    assert processes.outward_listeners(search.pid) == []

    if parallel == 1:
        search.terminate()  # as Kubernetes, Slurm and `ray job stop` do
    else:
        os.killpg(search.pid, signal.SIGINT)  # as a terminal does
    assert search.wait(timeout=300) == 130
    assert f"--resume {run.path}" in log.read_text()
    assert "Traceback" not in log.read_text()
    processes.wait_for_exit(started)
    assert [event["event"] for event in run.read_events()][-2:] == ["end", "interrupted"]
    before = results(run)
    assert 0 < len(before) < trials

    resumed = processes.start(["--resume", str(run.path)], log, forks=server)
    searches.append(resumed)
    assert resumed.wait(timeout=400) == 0, log.read_text()
    after = results(run)
    assert len(after) == trials
    assert {name: after[name] for name in before} == before  # no finished trial was trained again
    for place in (*range(deaths), waiting):
        (marker,) = space.parent.glob(f"{place}-*")
        record = run.trial(int(marker.name.partition("-")[2])).read_record()
        assert record is not None
        assert record.execution.resumptions >= 1
        assert [point.epoch for point in record.curve] == list(range(1, EPOCHS + 1))
    frame = load_frame(run)
    assert sorted(frame["number"]) == sorted(int(name) for name in after)
    assert (frame["status"] == "complete").all()
    rows = optuna.load_study(study_name="nas_distill", storage=run.own_storage).trials
    assert TrialState.RUNNING not in [row.state for row in rows]
    assert (run.report / "index.html").exists()
