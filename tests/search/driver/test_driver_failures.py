"""How the driver reacts when workers die."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.trial import TrialState

from nas_distill.errors import ClusterError, SpaceError
from nas_distill.records import SpaceTrial, StudentSpec, TrialStatus
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.trial.context import TrialContext
from nas_distill.trial.run import Trial, run_trial
from tests.helpers import SmallRun
from tests.search.driver.driving import open_driver, rows, trained, widths, work


def test_a_dead_worker_fails_its_trial_and_keeps_its_curve(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, heard = open_driver(tmp_path, small_run)
    task = driver.next_task()
    assert task is not None
    folder = RunDirectory(tmp_path).trial(task.number)
    Trial(task, context, folder).advance()
    driver.epoch_done(task.number, 1)
    driver.trial_ended(task.number, "worker: ActorDiedError: killed")
    record = folder.read_record()
    assert record is not None
    assert record.status is TrialStatus.FAILED
    assert record.error == "worker: ActorDiedError: killed"
    assert len(record.curve) == 1
    assert "ActorDiedError" in heard.texts("trial")[0]
    assert [row.state for row in rows(tmp_path)] == [TrialState.FAIL]


def test_a_trial_whose_worker_died_is_scheduled_again_and_continues(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, heard = open_driver(tmp_path, small_run, total=1, max_failures=2)
    task = driver.next_task()
    assert task is not None
    assert driver.waiting
    assert driver.next_task() is None
    Trial(task, context, RunDirectory(tmp_path).trial(task.number)).advance()
    driver.epoch_done(task.number, 1)
    driver.trial_ended(task.number, "the worker died")
    assert len(heard.texts("retry")) == 1
    (retry,) = [event for event in RunDirectory(tmp_path).read_events() if event["event"] == "retry"]
    assert (retry["number"], retry["error"]) == (task.number, "the worker died")
    assert work(driver, tmp_path, context) == [task.number]
    record = RunDirectory(tmp_path).trial(task.number).read_record()
    assert record is not None
    assert (record.status, record.execution.resumptions) == (TrialStatus.COMPLETE, 1)


def test_a_trial_is_scheduled_again_at_most_max_failures_times(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, _ = open_driver(tmp_path, small_run, total=1, max_failures=2)
    attempts = 0
    while (task := driver.next_task()) is not None:
        attempts += 1
        driver.trial_ended(task.number, "the worker died")
    driver.settle()
    assert attempts == 3
    assert [row.state for row in rows(tmp_path)] == [TrialState.FAIL]
    assert not driver.waiting


@pytest.mark.parametrize("max_failures", [0, 2])
def test_a_trial_stays_in_flight_when_its_worker_dies_after_scheduling_has_failed(
    tmp_path: Path, small_run: SmallRun, context: TrialContext, max_failures: int
) -> None:
    def faulty(trial: SpaceTrial) -> StudentSpec:
        if trial.number >= 2:
            raise ZeroDivisionError("mine")
        return widths(trial)

    driver, heard = open_driver(tmp_path, small_run, max_failures=max_failures, function=faulty)
    begun, unbegun = driver.next_task(), driver.next_task()
    assert begun is not None
    assert unbegun is not None
    Trial(begun, context, RunDirectory(tmp_path).trial(begun.number)).advance()
    driver.epoch_done(begun.number, 1)
    assert driver.next_task() is None
    assert isinstance(driver.failure, SpaceError)
    driver.trial_ended(begun.number, "worker: CUDA error")
    driver.trial_ended(unbegun.number, None)
    driver.settle()
    numbers = [begun.number, unbegun.number]
    assert [row.state for row in rows(tmp_path) if row.number in numbers] == [TrialState.RUNNING] * 2
    assert len(heard.texts("retry")) == 2
    assert heard.last_status is not None
    assert heard.last_status.running == {}

    again, _ = open_driver(tmp_path, small_run, total=2)
    assert work(again, tmp_path, context) == numbers
    assert trained(tmp_path) == numbers


def test_workers_that_die_in_a_row_before_their_first_epoch_end_the_search_and_fail_no_trial(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, heard = open_driver(tmp_path, small_run, total=6)
    numbers = []
    while (task := driver.next_task()) is not None:
        numbers.append(task.number)
        driver.trial_ended(task.number, "worker: OSError: the path is not shared")
    assert len(numbers) == 3
    assert isinstance(driver.failure, ClusterError)
    assert (driver.failure.code, driver.failure.field) == ("cluster.workers_died", "resources")
    driver.settle()
    assert [row.state for row in rows(tmp_path) if row.number in numbers] == [TrialState.RUNNING] * 3
    assert not heard.texts("trial")

    again, _ = open_driver(tmp_path, small_run, total=6)
    assert set(numbers) <= set(work(again, tmp_path, context))
    assert len(trained(tmp_path)) == 6


def test_a_worker_that_dies_at_the_start_fails_its_trial_once_another_trial_trains(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, _ = open_driver(tmp_path, small_run, total=2)
    first, second = driver.next_task(), driver.next_task()
    assert first is not None
    assert second is not None
    driver.trial_ended(first.number, "worker: segmentation fault")
    run_trial(second, context, RunDirectory(tmp_path).trial(second.number))
    driver.epoch_done(second.number, 1)
    driver.trial_ended(second.number, None)
    record = RunDirectory(tmp_path).trial(first.number).read_record()
    assert record is not None
    assert record.error == "worker: segmentation fault"
    assert driver.unfinished == 0
