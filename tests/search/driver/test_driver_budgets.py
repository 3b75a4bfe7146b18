"""How a search ends: a budget is reached, or no candidates are left."""

from __future__ import annotations

from pathlib import Path

from optuna.trial import TrialState

from nas_distill.analysis.front.arithmetic import reference_point
from nas_distill.config import BudgetConfig
from nas_distill.records import SpaceTrial, StudentSpec
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.driver.budget import BudgetWatch, FrontGrowth
from nas_distill.trial.context import TrialContext
from nas_distill.trial.run import Trial, run_trial
from tests.helpers import SmallRun
from tests.search.driver.driving import OBJECTIVES, open_driver, rows, trained, work


def test_a_finished_run_can_be_extended(tmp_path: Path, small_run: SmallRun, context: TrialContext) -> None:
    first = work(open_driver(tmp_path, small_run, total=2)[0], tmp_path, context)
    second = work(open_driver(tmp_path, small_run, total=4)[0], tmp_path, context)
    assert len(second) == 2
    assert trained(tmp_path) == sorted(first + second)


def test_an_exhausted_space_ends_the_search_without_an_error(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    def two(trial: SpaceTrial) -> StudentSpec:
        width = trial.suggest_int("width", 4, 5)
        return StudentSpec(architecture="small_resnet", arguments={"widths": (width, 4), "depths": (1, 1)})

    driver, heard = open_driver(tmp_path, small_run, total=5, function=two)
    assert len(work(driver, tmp_path, context)) == 2
    assert driver.failure is None
    assert driver.unfinished == 0
    assert len(heard.texts("exhausted")) == 1
    assert heard.last_status is not None
    assert heard.last_status.total is not None


def test_an_exhausted_epoch_budget_starts_no_trials_and_running_trials_finish(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    watch = BudgetWatch(BudgetConfig(epochs=3))
    driver, heard = open_driver(tmp_path, small_run, watch=watch)
    first, second = driver.next_task(), driver.next_task()
    assert first is not None
    assert second is not None
    run_trial(first, context, RunDirectory(tmp_path).trial(first.number))
    driver.epoch_done(first.number, 2)
    driver.trial_ended(first.number, None)
    Trial(second, context, RunDirectory(tmp_path).trial(second.number)).advance()
    assert driver.remaining == 1
    driver.epoch_done(second.number, 1)
    assert driver.next_task() is None
    assert len(heard.texts("budget")) == 1
    assert driver.enough == "3 epochs (--epoch-budget)"
    assert heard.last_status is not None
    assert (heard.last_status.total, heard.last_status.left.epochs) == (None, 0)
    assert driver.unfinished == 1

    again, _ = open_driver(tmp_path, small_run, watch=BudgetWatch(BudgetConfig(epochs=2)))
    assert work(again, tmp_path, context) == [second.number]
    assert not [row for row in rows(tmp_path) if row.state is TrialState.RUNNING]
    assert again.unfinished == 0

    extended, _ = open_driver(tmp_path, small_run, watch=BudgetWatch(BudgetConfig(epochs=8)))
    assert len(work(extended, tmp_path, context)) == 2


def test_patience_ends_a_search_without_a_number_of_trials(
    tmp_path: Path, small_run: SmallRun, context: TrialContext
) -> None:
    reference = reference_point(small_run.run.read_teacher(), OBJECTIVES)
    growth = FrontGrowth(OBJECTIVES, reference)
    watch = BudgetWatch(BudgetConfig(patience=2), growth=growth)
    driver, heard = open_driver(tmp_path, small_run, watch=watch)
    work(driver, tmp_path, context, at_most=11)  # there are eleven widths
    assert growth.trials_since_growth >= 2 or heard.texts("exhausted")
    assert driver.next_task() is None


def test_a_time_budget_that_earlier_sessions_used_up_starts_no_trial(tmp_path: Path, small_run: SmallRun) -> None:
    driver, _ = open_driver(tmp_path, small_run, watch=BudgetWatch(BudgetConfig(time_s=10.0), spent_s=11.0))
    assert driver.next_task() is None
    assert driver.enough == "10.0 s of searching (--time-budget)"
    assert (driver.remaining, driver.unfinished) == (0, 0)
