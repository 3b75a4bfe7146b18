"""`--folds` in whole searches."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from nas_distill.config import LOCAL_DIR, BudgetConfig, PicksConfig, ResourcesConfig, SearchConfig, TeacherConfig
from nas_distill.errors import ConfigError
from nas_distill.records import Fold, Recipe, TrialStatus
from nas_distill.report import load_content
from nas_distill.report.sections.folds import fold_section
from nas_distill.run_directory.config import read_run_config
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.service import resume_search, start_search
from tests.helpers import SMALL_DATA, Heard, SmallRun
from tests.search import faults, processes

pytestmark = pytest.mark.usefixtures("shared_cluster")


def make_config(small: SmallRun, folds: int) -> SearchConfig:
    return SearchConfig(
        data=SMALL_DATA,
        teacher=TeacherConfig(model=f"{LOCAL_DIR}{small.run.teacher}"),
        budget=BudgetConfig(trials=2),
        recipe=Recipe(epochs=1, batch_size=64),
        picks=PicksConfig(folds=folds),
        resources=ResourcesConfig(max_parallel_trials=1),
    )


def results(run: RunDirectory) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in run.folds.rglob("result.json")}


@pytest.mark.timeout(400)
@pytest.mark.slow
def test_folds_are_added_to_a_finished_search_and_lost_ones_are_repeated(small_run: SmallRun, tmp_path: Path) -> None:
    run = start_search(make_config(small_run, 0), tmp_path / "run", Heard()).run
    assert not run.folds.exists()

    outcome = resume_search(run.path, Heard(), folds=2)
    assert (outcome.interrupted, outcome.new_trials) == (False, 0)
    assert read_run_config(run).picks.folds == 2
    content = load_content(run)
    numbers = {pick.number for pick in content.picks} - {None}
    assert len(content.folds) == 2 * len(numbers)
    assert all(record.status is TrialStatus.COMPLETE for record in content.folds)
    section = fold_section(content)
    assert section is not None
    assert {line[2] for line in section.lines} == {"2 of 2"}
    assert section.notes[1].startswith("The teacher was trained on the images of every fold")

    # Finished folds are kept; a lost one is trained by the next call, without the flag.
    before = results(run)
    lost = next(iter(before))
    lost.unlink()
    resume_search(run.path, Heard())
    after = results(run)
    assert {path: when for path, when in after.items() if path != lost} == {
        path: when for path, when in before.items() if path != lost
    }
    assert lost in after


def test_more_folds_than_a_class_has_images_are_rejected_before_anything_is_trained(
    small_run: SmallRun, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        start_search(make_config(small_run, 300), tmp_path / "run", Heard())
    assert caught.value.code == "data.too_few_images_for_folds"
    assert not RunDirectory(tmp_path / "run").teacher.exists()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_interrupted_folds_continue_with_resume(
    small_run: SmallRun, tmp_path: Path, searches: list[subprocess.Popen[bytes]]
) -> None:
    run, log, held = RunDirectory(tmp_path / "run"), tmp_path / "log", tmp_path / "held"
    first, second = (run.fold(0, Fold(number=number, of=2)) for number in range(2))
    plan = faults.plan([4], {0: faults.faulty_spec("hold", marker=held, after=second.checkpoint)})
    arguments = [
        "--data", "digits", "--teacher", f"{LOCAL_DIR}{small_run.run.teacher}", "--trials", "1", "--epochs", "4",
        "--space", faults.FAULTY_SPACE, "--batch-size", "16", "--max-train-images", "320", "--folds", "2",
        "--set", "data.max_validation_images=160", "--max-parallel", "1",
        "--set", "resources.checkpoint_interval_s=0", "--out", str(run.path),
    ]  # fmt: skip
    searches.append(processes.start(arguments, log, environment=plan))
    processes.wait_for(held.exists, searches[0], log)
    started = processes.descendants(searches[0].pid)
    os.killpg(searches[0].pid, signal.SIGINT)
    assert searches[0].wait(timeout=120) == 130
    assert f"--resume {run.path}" in log.read_text()
    assert "Traceback" not in log.read_text()
    processes.wait_for_exit(started)
    assert (first.result.exists(), second.result.exists()) == (True, False)

    searches.append(processes.start(["--resume", str(run.path)], log, environment=plan))
    assert searches[1].wait(timeout=240) == 0, log.read_text()
    records = load_content(run).folds
    assert [record.status for record in records] == [TrialStatus.COMPLETE] * 2
    assert [record.execution.resumptions for record in records] == [0, 1]
