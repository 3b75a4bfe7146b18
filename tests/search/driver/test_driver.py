"""The search's bookkeeping with real trials and a real study, and no Ray."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from optuna.trial import TrialState

from nas_distill.errors import SpaceError
from nas_distill.records import SpaceTrial, StudentSpec
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.trial.context import TrialContext
from nas_distill.trial.run import Trial, run_trial
from tests.helpers import SmallRun
from tests.search.driver.driving import open_driver, rows, trained, widths, work


def test_a_search_schedules_its_trials_and_records_every_result(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, heard = open_driver(tmp_path, small_run)
    numbers = work(driver, tmp_path, context)
    assert len(numbers) == 3
    assert trained(tmp_path) == numbers
    assert driver.new_trials == 3
    assert driver.unfinished == 0
    assert heard.last_status is not None
    assert (heard.last_status.complete, heard.last_status.running) == (3, {})
    events = [json.loads(line) for line in RunDirectory(tmp_path).events.read_text().splitlines()]
    assert [event["number"] for event in events if event["event"] == "trial"] == numbers


def test_a_result_on_disk_that_the_study_lacks_is_added_on_resuming(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, _ = open_driver(tmp_path, small_run)
    first = driver.next_task()
    assert first is not None
    record = run_trial(first, context, RunDirectory(tmp_path).trial(first.number))  # and the driver dies here
    again, _ = open_driver(tmp_path, small_run)
    assert trained(tmp_path) == [first.number]
    numbers = work(again, tmp_path, context)
    assert first.number not in numbers
    assert len(numbers) == 2
    assert RunDirectory(tmp_path).trial(first.number).read_record() == record


def test_trials_in_flight_are_scheduled_first_and_continue(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, _ = open_driver(tmp_path, small_run)
    flying = driver.next_task()
    assert flying is not None
    Trial(flying, context, RunDirectory(tmp_path).trial(flying.number)).advance()  # one of two epochs, then kill -9
    again, heard = open_driver(tmp_path, small_run)
    assert len(heard.texts("resume")) == 1
    numbers = work(again, tmp_path, context)
    assert numbers[0] == flying.number
    record = RunDirectory(tmp_path).trial(flying.number).read_record()
    assert record is not None
    assert record.execution.resumptions == 1
    assert trained(tmp_path) == sorted(numbers)
    assert not [row for row in rows(tmp_path) if row.state is TrialState.RUNNING]


def test_a_broken_space_stops_scheduling_but_results_are_still_recorded(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    def breaks_later(trial: SpaceTrial) -> StudentSpec:
        if trial.number >= 1:
            raise ValueError("broken")
        return widths(trial)

    driver, heard = open_driver(tmp_path, small_run, function=breaks_later)
    first = driver.next_task()
    assert first is not None
    assert driver.next_task() is None
    assert isinstance(driver.failure, SpaceError)
    run_trial(first, context, RunDirectory(tmp_path).trial(first.number))
    driver.trial_ended(first.number, None)
    assert trained(tmp_path) == [first.number]
    assert len(heard.texts("error")) == 1


def test_a_damaged_result_stops_the_search_and_the_error_names_the_file(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, _ = open_driver(tmp_path, small_run)
    task = driver.next_task()
    assert task is not None
    folder = RunDirectory(tmp_path).trial(task.number)
    run_trial(task, context, folder)
    folder.result.write_text("{}")
    driver.trial_ended(task.number, None)
    assert "result.json" in str(driver.failure)
    assert not driver.waiting


def test_an_end_that_is_reported_twice_counts_once(tmp_path: Path, small_run: SmallRun, context: TrialContext) -> None:
    driver, _ = open_driver(tmp_path, small_run, total=1)
    (number,) = work(driver, tmp_path, context)
    driver.trial_ended(number, None)
    assert driver.new_trials == 1


def test_lost_trial_folders_are_trained_again(tmp_path: Path, small_run: SmallRun, context: TrialContext) -> None:
    driver, _ = open_driver(tmp_path, small_run, total=1)
    flying = driver.next_task()
    assert flying is not None
    shutil.rmtree(RunDirectory(tmp_path).trials, ignore_errors=True)
    again, _ = open_driver(tmp_path, small_run, total=1)
    assert work(again, tmp_path, context) == [flying.number]


def test_a_search_that_failed_waits_for_no_trial(tmp_path: Path, small_run: SmallRun) -> None:
    def breaks_later(trial: SpaceTrial) -> StudentSpec:
        if trial.number >= 1:
            raise ValueError("broken")
        return widths(trial)

    driver, _ = open_driver(tmp_path, small_run, function=breaks_later)
    driver.next_task()
    assert driver.waiting
    driver.next_task()
    assert not driver.waiting  # nothing will be scheduled again, so that the cluster may end
