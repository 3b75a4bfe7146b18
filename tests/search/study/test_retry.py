"""Failed trials that are put back in flight."""

from __future__ import annotations

from pathlib import Path

from optuna.trial import TrialState

from nas_distill.config import SearchConfig
from nas_distill.records import TrialStatus
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.study.retry import reopen_failed
from nas_distill.trial.context import TrialContext
from nas_distill.trial.run import Trial
from tests.helpers import SmallRun
from tests.search.driver.driving import open_driver, rows, work


def test_a_failed_trial_is_trained_again(tmp_path: Path, small_run: SmallRun, context: TrialContext) -> None:
    run = RunDirectory(tmp_path)
    driver, _ = open_driver(tmp_path, small_run, total=2)
    task = driver.next_task()
    assert task is not None
    Trial(task, context, run.trial(task.number)).advance()
    driver.epoch_done(task.number, 1)
    driver.trial_ended(task.number, "worker: the node is out of memory")
    work(driver, tmp_path, context)
    assert [row.state for row in rows(tmp_path)] == [TrialState.FAIL, TrialState.COMPLETE]

    assert reopen_failed(run, SearchConfig()) == [task.number]
    assert [row.state for row in rows(tmp_path)] == [TrialState.RUNNING, TrialState.COMPLETE]
    again, _ = open_driver(tmp_path, small_run, total=2)
    assert work(again, tmp_path, context) == [task.number]
    record = run.trial(task.number).read_record()
    assert record is not None
    assert (record.status, record.error) == (TrialStatus.COMPLETE, None)
    assert [point.epoch for point in record.curve] == [1, 2]
    assert [row.state for row in rows(tmp_path)] == [TrialState.COMPLETE] * 2
    assert reopen_failed(run, SearchConfig()) == []
