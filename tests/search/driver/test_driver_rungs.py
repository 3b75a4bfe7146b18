"""How the driver decides at rungs, before and after an interruption."""

from __future__ import annotations

from pathlib import Path

from optuna.trial import TrialState

from nas_distill.errors import RunError
from nas_distill.records import ExecutionInfo, TrialResult, TrialStatus, TrialTask
from nas_distill.records.base import parse_sealed
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.driver.driver import SearchDriver
from nas_distill.search.early_stopping.asha import Asha
from nas_distill.search.early_stopping.curves import coordinates_at
from nas_distill.search.early_stopping.rules import RULES, RungOrder
from nas_distill.trial.context import TrialContext
from nas_distill.trial.run import Trial
from tests.helpers import SmallRun
from tests.search.driver.driving import OBJECTIVES, open_driver, rows, work


def make_asha(rule: RungOrder | None = None) -> Asha:
    return Asha((1,), 3.0, rule or RULES.order("layers", OBJECTIVES))


def stop_all(values: object, index: int, enough: int) -> int:
    return enough


def keep_all(values: object, index: int, enough: int) -> int:
    return 0


def to_rung(driver: SearchDriver, folder: Path, context: TrialContext) -> tuple[int, ExecutionInfo]:
    """Train the first epoch of the next trial, after which its worker waits."""
    task = driver.next_task()
    assert task is not None
    trial = Trial(task, context, RunDirectory(folder).trial(task.number))
    trial.advance()
    return task.number, trial.account()


def test_a_trial_that_is_stopped_at_a_rung_has_ended(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, heard = open_driver(tmp_path, small_run, total=2, asha=make_asha(stop_all))
    assert driver.rungs == (1,)
    number, execution_info = to_rung(driver, tmp_path, context)
    assert not driver.goes_on(number, 1, execution_info)

    folder = RunDirectory(tmp_path).trial(number)
    record = folder.read_record()
    assert record is not None
    assert (record.status, record.epochs, record.execution.device) == (TrialStatus.STOPPED, 1, "cpu")
    assert record.curve == folder.read_curve()
    assert not folder.checkpoint.exists()
    (row,) = rows(tmp_path)
    assert (row.state, row.values) == (TrialState.FAIL, None)
    assert parse_sealed(TrialResult, row.user_attrs["result"], origin="study") == record.result()
    assert heard.texts("trial")[0].startswith(f"trial {number} stopped after epoch 1 at gap_points")

    # Reports of Tune that follow are ignored.
    driver.epoch_done(number, 1)
    driver.trial_ended(number, None)
    assert (driver.new_trials, driver.unfinished, driver.waiting) == (1, 1, False)
    assert heard.last_status is not None
    assert (heard.last_status.stopped, heard.last_status.running) == (1, {})
    to_rung(driver, tmp_path, context)
    assert driver.remaining == 0  # a stopped trial counts for the budget


def test_a_trial_that_continues_is_not_recorded_at_its_rung(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, _ = open_driver(tmp_path, small_run, total=1, asha=make_asha(keep_all))
    number, execution_info = to_rung(driver, tmp_path, context)
    assert driver.goes_on(number, 1, execution_info)
    driver.epoch_done(number, 1)
    assert RunDirectory(tmp_path).trial(number).read_record() is None
    driver.trial_ended(number, "the worker died")
    assert [row.state for row in rows(tmp_path)] == [TrialState.FAIL]


def test_without_early_stopping_there_are_no_rungs(tmp_path: Path, small_run: SmallRun, context: TrialContext) -> None:
    driver, _ = open_driver(tmp_path, small_run)
    assert driver.rungs == ()
    assert driver.goes_on(*to_rung(driver, tmp_path, context)[:1], 1, ExecutionInfo())


def test_rungs_are_rebuilt_from_records_and_from_curves_of_trials_in_flight(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    before = make_asha(keep_all)
    driver, _ = open_driver(tmp_path, small_run, total=4, asha=before)
    work(driver, tmp_path, context, at_most=1)  # complete
    number, execution_info = to_rung(driver, tmp_path, context)  # failed after its rung
    driver.goes_on(number, 1, execution_info)
    driver.epoch_done(number, 1)
    driver.trial_ended(number, "the worker died")
    flying, execution_info = to_rung(driver, tmp_path, context)  # in flight
    driver.goes_on(flying, 1, execution_info)
    assert len(before.entries(1)) == 3

    after = make_asha(keep_all)
    open_driver(tmp_path, small_run, total=4, asha=after)
    assert after.entries(1) == before.entries(1)
    (row,) = [row for row in rows(tmp_path) if row.number == 0]
    task = parse_sealed(TrialTask, row.user_attrs["task"], origin="study")
    result = parse_sealed(TrialResult, row.user_attrs["result"], origin="study")
    assert before.entries(1)[0] == coordinates_at(result.outcome.curve[0], task.cost, OBJECTIVES)


def test_a_trial_interrupted_before_its_decision_is_decided_when_it_is_scheduled_again(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, _ = open_driver(tmp_path, small_run, total=1, asha=make_asha(stop_all))
    number, _ = to_rung(driver, tmp_path, context)  # and the driver dies here
    again, heard = open_driver(tmp_path, small_run, total=1, asha=make_asha(stop_all))
    assert again.next_task() is None
    assert (again.new_trials, again.unfinished, again.waiting) == (1, 0, False)
    assert heard.texts("trial")[0].startswith(f"trial {number} stopped after epoch 1")
    assert [row.state for row in rows(tmp_path)] == [TrialState.FAIL]


def test_a_rung_that_a_trial_passed_before_an_interruption_is_not_decided_again(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, _ = open_driver(tmp_path, small_run, total=1, asha=make_asha(keep_all))
    number, _ = to_rung(driver, tmp_path, context)
    folder = RunDirectory(tmp_path).trial(number)
    (first,) = folder.read_curve()
    folder.write_curve((first, first.model_copy(update={"epoch": 2})))
    again, _ = open_driver(tmp_path, small_run, total=1, asha=make_asha(stop_all))
    flying = again.next_task()
    assert flying is not None
    assert flying.number == number
    assert again.goes_on(number, 1, ExecutionInfo())  # an older checkpoint made it train the rung's epoch again


def test_a_missing_curve_ends_the_search_and_leaves_the_trial_in_flight(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, _ = open_driver(tmp_path, small_run, asha=make_asha(keep_all))
    number, execution_info = to_rung(driver, tmp_path, context)
    RunDirectory(tmp_path).trial(number).curve.unlink()
    assert not driver.goes_on(number, 1, execution_info)
    assert isinstance(driver.failure, RunError)
    assert driver.failure.code == "cluster.path_not_shared"
    assert not driver.waiting
    assert [row.state for row in rows(tmp_path)] == [TrialState.RUNNING]
