"""A process is killed at every write and rename, and continued: no trial is lost, repeated or changed."""

from __future__ import annotations

import os
import signal
import traceback
from pathlib import Path

import pytest

from nas_distill.analysis.trials.study_reader import read_study
from nas_distill.run_directory import failpoints
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.repair.run import repair_run
from tests.faults.runs import trials_of
from tests.faults.search_once import main
from tests.helpers import SmallRun

TRIALS = 2


def _search(run: Path, teacher: Path, points: Path, *, kill_at: int | None = None) -> int:
    """Run a search, killed at a point; return its exit status."""
    points.mkdir(exist_ok=True)
    if kill_at is not None:
        (points / "kill_at").write_text(str(kill_at))
    process = os.fork()  # importing torch takes longer than the search
    if process == 0:
        try:
            failpoints.FOLDER = str(points)
            main(run, str(teacher), TRIALS)
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the child must never return into the test
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _names(points: Path) -> list[str]:
    return [line.split(maxsplit=1)[1].strip() for line in (points / "points").read_text().splitlines()]


def _check_killed(folder: Path, teacher: Path, expected: RunDirectory, number: int) -> None:
    run = RunDirectory(folder / str(number))
    points = folder / f"points-{number}"
    assert _search(run.path, teacher, points, kill_at=number) == -signal.SIGKILL, number
    assert _search(run.path, teacher, points) == 0, number
    columns = ["number", "status", "top1", "gap_points", "nll_nats", "num_params", "epochs"]
    found, wanted = trials_of(run)[columns], trials_of(expected)[columns]
    assert found.equals(wanted), _names(points)[number - 1]
    snapshot = read_study(run)
    assert (snapshot.running, snapshot.damaged) == (0, ())
    assert set(found["number"]) == {number for number in run.trial_numbers() if run.trial(number).read_record()}
    assert repair_run(run.path).findings == ()


@pytest.fixture(scope="module")
def whole(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, list[str]]:
    """A search that was not killed, and the points that it passed."""
    folder = tmp_path_factory.mktemp("whole")
    assert _search(folder / "run", small_run.run.teacher, folder / "points") == 0
    return RunDirectory(folder / "run"), _names(folder / "points")


def test_a_search_that_is_killed_at_chosen_points_is_continued(
    whole: tuple[RunDirectory, list[str]], small_run: SmallRun, tmp_path: Path
) -> None:
    expected, names = whole
    chosen = (names.index("before rename result.json"), names.index("after rename student.safetensors"))
    for index in chosen:
        _check_killed(tmp_path, small_run.run.teacher, expected, index + 1)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_search_that_is_killed_at_any_point_is_continued(
    whole: tuple[RunDirectory, list[str]], small_run: SmallRun, tmp_path: Path
) -> None:
    expected, names = whole
    for number in range(1, len(names) + 1):
        _check_killed(tmp_path, small_run.run.teacher, expected, number)
