"""The search's bookkeeping with real trials and a real study, and no Ray."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna import Trial as OptunaTrial
from optuna.trial import TrialState

from nas_distill.analysis.pareto import reference_point
from nas_distill.config import SearchConfig, SpaceConfig
from nas_distill.errors import ClusterError, RunError, SpaceError
from nas_distill.objectives import check_objectives
from nas_distill.records import Recipe, StudentSpec, TrialRecord, TrialStatus
from nas_distill.search.asha import Asha
from nas_distill.search.asha_rules import RULES, RungOrder
from nas_distill.search.budget import Budget, BudgetWatch, FrontGrowth
from nas_distill.search.driver import SearchDriver
from nas_distill.search.limits import make_limits
from nas_distill.search.pricing import InputShape, Pricer
from nas_distill.search.proposer import Proposer
from nas_distill.search.recipes import load_recipe_space, make_choices
from nas_distill.search.spaces import Space
from nas_distill.search.stopping import Stopping, coordinates_at
from nas_distill.search.study import StudyLedger
from nas_distill.store import RunDirectory
from nas_distill.trial import Circumstances, Trial, run_trial
from nas_distill.workplace import TrialContext, open_context
from tests.helpers import Heard, SmallRun

OBJECTIVES = check_objectives(("gap_points", "num_params"))
RECIPE = Recipe(epochs=2, batch_size=64)


def widths(trial: OptunaTrial) -> StudentSpec:
    width = trial.suggest_int("width", 2, 12)
    return StudentSpec(architecture="small_resnet", arguments={"widths": (width, width), "depths": (1, 1)})


@pytest.fixture(scope="module")
def context(small_run: SmallRun) -> TrialContext:
    return open_context(small_run.workplace())


def open_driver(
    folder: Path,
    small: SmallRun,
    *,
    total: int | None = 3,
    max_failures: int = 0,
    function: Callable[[OptunaTrial], StudentSpec] = widths,
    asha: Asha | None = None,
    watch: BudgetWatch | None = None,
) -> tuple[SearchDriver, Heard]:
    run = RunDirectory(folder)
    storage, name = run.own_storage, "nas_distill"
    ledger = StudyLedger(storage, name, OBJECTIVES, 0)
    proposer = Proposer(
        ledger,
        space=Space(name="widths", function=function, source_path=Path(__file__), doc=""),
        limits=make_limits(SpaceConfig(), small.run.read_teacher().cost),
        pricer=Pricer(InputShape(num_classes=10, channels=1, image_size=8)),
        recipe=RECIPE,
        seed=0,
        max_refusals=20,
        known=ledger.assigned(),
        recipes=load_recipe_space("fixed"),
        choices=make_choices(SearchConfig()),
    )
    heard = Heard()
    driver = SearchDriver(
        run,
        ledger,
        proposer,
        objectives=OBJECTIVES,
        total=total,
        max_failures=max_failures,
        progress=heard,
        stopping=None if asha is None else Stopping(asha, OBJECTIVES),
        watch=watch,
    )
    return driver, heard


def work(driver: SearchDriver, folder: Path, context: TrialContext, *, at_most: int = 100) -> list[int]:
    """Does what a worker would: takes assignments, trains them, reports."""
    numbers: list[int] = []
    while len(numbers) < at_most and (assignment := driver.next_assignment()) is not None:
        run_trial(assignment, context, RunDirectory(folder).trial(assignment.number))
        driver.trial_ended(assignment.number, None)
        numbers.append(assignment.number)
    return numbers


def rows(folder: Path) -> list[optuna.trial.FrozenTrial]:
    storage, name = RunDirectory(folder).own_storage, "nas_distill"
    return optuna.load_study(study_name=name, storage=storage).trials


def trained(folder: Path) -> list[int]:
    return [row.number for row in rows(folder) if row.state is TrialState.COMPLETE]


def test_a_search_hands_out_its_total_and_books_every_end(
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


def test_a_crash_between_result_and_acknowledgement_loses_nothing(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, _ = open_driver(tmp_path, small_run)
    first = driver.next_assignment()
    assert first is not None
    record = run_trial(first, context, RunDirectory(tmp_path).trial(first.number))  # and the driver dies here
    again, _ = open_driver(tmp_path, small_run)
    assert trained(tmp_path) == [first.number]
    numbers = work(again, tmp_path, context)
    assert first.number not in numbers
    assert len(numbers) == 2
    assert RunDirectory(tmp_path).trial(first.number).read_result() == record


def test_trials_in_flight_are_handed_out_first_and_go_on(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, _ = open_driver(tmp_path, small_run)
    flying = driver.next_assignment()
    assert flying is not None
    Trial(flying, context, RunDirectory(tmp_path).trial(flying.number)).advance()  # one of two epochs, then kill -9
    again, heard = open_driver(tmp_path, small_run)
    assert heard.texts("resume") == [f"going on with trials in flight: {flying.number}"]
    numbers = work(again, tmp_path, context)
    assert numbers[0] == flying.number
    record = RunDirectory(tmp_path).trial(flying.number).read_result()
    assert record is not None
    assert record.resumptions == 1
    assert trained(tmp_path) == sorted(numbers)
    assert not [row for row in rows(tmp_path) if row.state is TrialState.RUNNING]


def test_a_finished_run_can_be_extended(tmp_path: Path, small_run: SmallRun, context: TrialContext) -> None:
    first = work(open_driver(tmp_path, small_run, total=2)[0], tmp_path, context)
    second = work(open_driver(tmp_path, small_run, total=4)[0], tmp_path, context)
    assert len(second) == 2
    assert trained(tmp_path) == sorted(first + second)


def test_a_dead_worker_fails_its_trial_and_keeps_its_curve(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, heard = open_driver(tmp_path, small_run)
    assignment = driver.next_assignment()
    assert assignment is not None
    folder = RunDirectory(tmp_path).trial(assignment.number)
    Trial(assignment, context, folder).advance()
    driver.epoch_done(assignment.number, 1)
    driver.trial_ended(assignment.number, "worker: ActorDiedError: killed")
    record = folder.read_result()
    assert record is not None
    assert record.status is TrialStatus.FAILED
    assert record.error == "worker: ActorDiedError: killed"
    assert len(record.curve) == 1
    assert "ActorDiedError" in heard.texts("trial")[0]
    assert [row.state for row in rows(tmp_path)] == [TrialState.FAIL]


def test_a_broken_space_stops_proposals_but_not_the_bookkeeping(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    def breaks_later(trial: OptunaTrial) -> StudentSpec:
        if trial.number >= 1:
            raise ValueError("broken")
        return widths(trial)

    driver, heard = open_driver(tmp_path, small_run, function=breaks_later)
    first = driver.next_assignment()
    assert first is not None
    assert driver.next_assignment() is None
    assert isinstance(driver.failure, SpaceError)
    run_trial(first, context, RunDirectory(tmp_path).trial(first.number))
    driver.trial_ended(first.number, None)
    assert trained(tmp_path) == [first.number]
    assert len(heard.texts("error")) == 1


def test_a_damaged_result_stops_the_search_with_its_path(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, _ = open_driver(tmp_path, small_run)
    assignment = driver.next_assignment()
    assert assignment is not None
    folder = RunDirectory(tmp_path).trial(assignment.number)
    run_trial(assignment, context, folder)
    folder.result.write_text("{}")
    driver.trial_ended(assignment.number, None)
    assert "result.json" in str(driver.failure)
    assert not driver.waiting


def test_a_trial_whose_worker_died_is_handed_out_again_and_goes_on(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, heard = open_driver(tmp_path, small_run, total=1, max_failures=2)
    assignment = driver.next_assignment()
    assert assignment is not None
    assert driver.waiting
    assert driver.next_assignment() is None
    Trial(assignment, context, RunDirectory(tmp_path).trial(assignment.number)).advance()
    driver.epoch_done(assignment.number, 1)
    driver.trial_ended(assignment.number, "the worker died")
    assert heard.texts("retry") == [f"trial {assignment.number} goes on in another worker: the worker died"]
    assert work(driver, tmp_path, context) == [assignment.number]
    record = RunDirectory(tmp_path).trial(assignment.number).read_result()
    assert record is not None
    assert (record.status, record.resumptions) == (TrialStatus.COMPLETE, 1)


def test_a_trial_is_handed_out_again_only_so_often(tmp_path: Path, small_run: SmallRun, context: TrialContext) -> None:
    driver, _ = open_driver(tmp_path, small_run, total=1, max_failures=2)
    attempts = 0
    while (assignment := driver.next_assignment()) is not None:
        attempts += 1
        driver.trial_ended(assignment.number, "the worker died")
    driver.settle()
    assert attempts == 3
    assert [row.state for row in rows(tmp_path)] == [TrialState.FAIL]
    assert not driver.waiting


def test_workers_that_die_before_their_first_epoch_end_the_search_not_its_trials(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, heard = open_driver(tmp_path, small_run, total=6)
    numbers = []
    while (assignment := driver.next_assignment()) is not None:
        numbers.append(assignment.number)
        driver.trial_ended(assignment.number, "worker: OSError: the path is not shared")
    assert len(numbers) == 3
    assert isinstance(driver.failure, ClusterError)
    assert "the path is not shared" in str(driver.failure)
    driver.settle()
    assert [row.state for row in rows(tmp_path) if row.number in numbers] == [TrialState.RUNNING] * 3
    assert not heard.texts("trial")

    again, _ = open_driver(tmp_path, small_run, total=6)
    assert set(numbers) <= set(work(again, tmp_path, context))
    assert len(trained(tmp_path)) == 6


def test_one_worker_that_dies_at_the_start_fails_its_trial_once_others_train(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, _ = open_driver(tmp_path, small_run, total=2)
    first, second = driver.next_assignment(), driver.next_assignment()
    assert first is not None
    assert second is not None
    driver.trial_ended(first.number, "worker: segmentation fault")
    run_trial(second, context, RunDirectory(tmp_path).trial(second.number))
    driver.epoch_done(second.number, 1)
    driver.trial_ended(second.number, None)
    record = RunDirectory(tmp_path).trial(first.number).read_result()
    assert record is not None
    assert record.error == "worker: segmentation fault"
    assert driver.unfinished == 0


def test_an_exhausted_space_ends_the_search_in_peace(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    def two(trial: OptunaTrial) -> StudentSpec:
        width = trial.suggest_int("width", 4, 5)
        return StudentSpec(architecture="small_resnet", arguments={"widths": (width, 4), "depths": (1, 1)})

    driver, heard = open_driver(tmp_path, small_run, total=5, function=two)
    assert len(work(driver, tmp_path, context)) == 2
    assert driver.failure is None
    assert driver.unfinished == 0
    assert heard.texts("exhausted")[0].startswith("the search ends with 2 trials: space 'widths'")


def test_an_end_heard_twice_counts_once(tmp_path: Path, small_run: SmallRun, context: TrialContext) -> None:
    driver, _ = open_driver(tmp_path, small_run, total=1)
    (number,) = work(driver, tmp_path, context)
    driver.trial_ended(number, None)
    assert driver.new_trials == 1


def test_lost_trial_folders_are_trained_again(tmp_path: Path, small_run: SmallRun, context: TrialContext) -> None:
    driver, _ = open_driver(tmp_path, small_run, total=1)
    flying = driver.next_assignment()
    assert flying is not None
    shutil.rmtree(RunDirectory(tmp_path).trials, ignore_errors=True)
    again, _ = open_driver(tmp_path, small_run, total=1)
    assert work(again, tmp_path, context) == [flying.number]


def make_asha(rule: RungOrder | None = None) -> Asha:
    return Asha((1,), 3.0, rule or RULES.order("layers", OBJECTIVES))


def stop_all(values: object, index: int, enough: int) -> int:
    return enough


def keep_all(values: object, index: int, enough: int) -> int:
    return 0


def to_rung(driver: SearchDriver, folder: Path, context: TrialContext) -> tuple[int, Circumstances]:
    """Trains the next trial's first epoch, up to where its worker waits."""
    assignment = driver.next_assignment()
    assert assignment is not None
    trial = Trial(assignment, context, RunDirectory(folder).trial(assignment.number))
    trial.advance()
    return assignment.number, trial.account()


def test_a_trial_that_is_stopped_at_a_rung_has_ended(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, heard = open_driver(tmp_path, small_run, total=2, asha=make_asha(stop_all))
    assert driver.rungs == (1,)
    number, circumstances = to_rung(driver, tmp_path, context)
    assert not driver.goes_on(number, 1, circumstances)

    folder = RunDirectory(tmp_path).trial(number)
    record = folder.read_result()
    assert record is not None
    assert (record.status, record.epochs, record.device) == (TrialStatus.STOPPED, 1, "cpu")
    assert record.curve == folder.read_curve()
    assert not folder.checkpoint.exists()
    (row,) = rows(tmp_path)
    assert (row.state, row.values) == (TrialState.FAIL, None)
    assert TrialRecord.model_validate_json(row.user_attrs["record"]) == record
    assert heard.texts("trial")[0].startswith(f"trial {number} stopped after epoch 1 at gap_points")

    # What Tune tells afterwards finds it ended.
    driver.epoch_done(number, 1)
    driver.trial_ended(number, None)
    assert (driver.new_trials, driver.unfinished, driver.waiting) == (1, 1, False)
    assert heard.last_status is not None
    assert (heard.last_status.stopped, heard.last_status.running) == (1, {})
    to_rung(driver, tmp_path, context)
    assert driver.remaining == 0  # a stopped trial is one of the budget's


def test_a_trial_that_goes_on_is_trained_to_its_end(tmp_path: Path, small_run: SmallRun, context: TrialContext) -> None:
    driver, _ = open_driver(tmp_path, small_run, total=1, asha=make_asha(keep_all))
    number, circumstances = to_rung(driver, tmp_path, context)
    assert driver.goes_on(number, 1, circumstances)
    driver.epoch_done(number, 1)
    assert RunDirectory(tmp_path).trial(number).read_result() is None
    driver.trial_ended(number, "the worker died")
    assert [row.state for row in rows(tmp_path)] == [TrialState.FAIL]


def test_without_early_stopping_there_are_no_rungs(tmp_path: Path, small_run: SmallRun, context: TrialContext) -> None:
    driver, _ = open_driver(tmp_path, small_run)
    assert driver.rungs == ()
    assert driver.goes_on(*to_rung(driver, tmp_path, context)[:1], 1, Circumstances())


def test_rungs_are_rebuilt_from_records_and_from_curves_of_trials_in_flight(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    before = make_asha(keep_all)
    driver, _ = open_driver(tmp_path, small_run, total=4, asha=before)
    work(driver, tmp_path, context, at_most=1)  # complete
    number, circumstances = to_rung(driver, tmp_path, context)  # failed after its rung
    driver.goes_on(number, 1, circumstances)
    driver.epoch_done(number, 1)
    driver.trial_ended(number, "the worker died")
    flying, circumstances = to_rung(driver, tmp_path, context)  # in flight
    driver.goes_on(flying, 1, circumstances)
    assert len(before.entries(1)) == 3

    after = make_asha(keep_all)
    open_driver(tmp_path, small_run, total=4, asha=after)
    assert after.entries(1) == before.entries(1)
    (row,) = [row for row in rows(tmp_path) if row.number == 0]
    record = TrialRecord.model_validate_json(row.user_attrs["record"])
    assert before.entries(1)[0] == coordinates_at(record.curve[0], record.cost, OBJECTIVES)


def test_a_trial_that_was_cut_off_before_the_decision_is_decided_on_when_it_is_handed_out(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, _ = open_driver(tmp_path, small_run, total=1, asha=make_asha(stop_all))
    number, _ = to_rung(driver, tmp_path, context)  # and the driver dies here
    again, heard = open_driver(tmp_path, small_run, total=1, asha=make_asha(stop_all))
    assert again.next_assignment() is None
    assert (again.new_trials, again.unfinished, again.waiting) == (1, 0, False)
    assert heard.texts("trial")[0].startswith(f"trial {number} stopped after epoch 1")
    assert [row.state for row in rows(tmp_path)] == [TrialState.FAIL]


def test_a_rung_that_a_trial_had_passed_before_it_was_cut_off_is_not_decided_on_again(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, _ = open_driver(tmp_path, small_run, total=1, asha=make_asha(keep_all))
    number, _ = to_rung(driver, tmp_path, context)
    folder = RunDirectory(tmp_path).trial(number)
    (first,) = folder.read_curve()
    folder.write_curve((first, first.model_copy(update={"epoch": 2})))
    again, _ = open_driver(tmp_path, small_run, total=1, asha=make_asha(stop_all))
    flying = again.next_assignment()
    assert flying is not None
    assert flying.number == number
    assert again.goes_on(number, 1, Circumstances())  # an older checkpoint made it train the rung's epoch again


def test_a_curve_that_is_not_there_ends_the_search_and_leaves_the_trial_in_flight(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    driver, _ = open_driver(tmp_path, small_run, asha=make_asha(keep_all))
    number, circumstances = to_rung(driver, tmp_path, context)
    RunDirectory(tmp_path).trial(number).curve.unlink()
    assert not driver.goes_on(number, 1, circumstances)
    assert isinstance(driver.failure, RunError)
    assert "does not end at epoch 1" in str(driver.failure)
    assert not driver.waiting
    assert [row.state for row in rows(tmp_path)] == [TrialState.RUNNING]


def test_an_epoch_budget_ends_the_handing_out_and_what_is_in_flight_goes_on(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    watch = BudgetWatch(Budget(epochs=3))
    driver, heard = open_driver(tmp_path, small_run, total=None, watch=watch)
    first, second = driver.next_assignment(), driver.next_assignment()
    assert first is not None
    assert second is not None
    run_trial(first, context, RunDirectory(tmp_path).trial(first.number))
    driver.epoch_done(first.number, 2)
    driver.trial_ended(first.number, None)
    Trial(second, context, RunDirectory(tmp_path).trial(second.number)).advance()
    assert driver.remaining == 1
    driver.epoch_done(second.number, 1)
    assert driver.next_assignment() is None
    assert heard.texts("budget") == ["no further trials are started: 3 epochs (--epoch-budget)"]
    assert heard.last_status is not None
    assert (heard.last_status.total, heard.last_status.left.epochs) == (None, 0)
    assert driver.unfinished == 1

    again, _ = open_driver(tmp_path, small_run, total=None, watch=BudgetWatch(Budget(epochs=2)))
    assert work(again, tmp_path, context) == [second.number]
    assert not [row for row in rows(tmp_path) if row.state is TrialState.RUNNING]
    assert again.unfinished == 0

    extended, _ = open_driver(tmp_path, small_run, total=None, watch=BudgetWatch(Budget(epochs=8)))
    assert len(work(extended, tmp_path, context)) == 2


def test_patience_ends_a_search_without_a_number_of_trials(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    reference = reference_point(small_run.run.read_teacher(), OBJECTIVES)
    growth = FrontGrowth(OBJECTIVES, reference)
    watch = BudgetWatch(Budget(patience=2), growth=growth)
    driver, heard = open_driver(tmp_path, small_run, total=None, watch=watch)
    work(driver, tmp_path, context, at_most=11)  # there are eleven widths
    assert growth.still >= 2 or heard.texts("exhausted")
    assert driver.next_assignment() is None


def test_time_is_over_at_once_when_earlier_sessions_took_it(tmp_path: Path, small_run: SmallRun) -> None:
    driver, _ = open_driver(tmp_path, small_run, total=None, watch=BudgetWatch(Budget(time_s=10.0), spent_s=11.0))
    assert driver.next_assignment() is None
    assert driver.enough == "10.0 s of searching (--time-budget)"
    assert (driver.remaining, driver.unfinished) == (0, 0)


def test_a_failed_search_waits_for_nobody(tmp_path: Path, small_run: SmallRun) -> None:
    def breaks_later(trial: OptunaTrial) -> StudentSpec:
        if trial.number >= 1:
            raise ValueError("broken")
        return widths(trial)

    driver, _ = open_driver(tmp_path, small_run, function=breaks_later)
    driver.next_assignment()
    assert driver.waiting
    driver.next_assignment()
    assert not driver.waiting  # nothing will be handed out again, so that the cluster may let go
