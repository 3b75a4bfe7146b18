"""A search driver on a real study with real candidates, and a stand-in for its workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.trial import TrialState

from nas_distill.config import BudgetConfig, SpaceConfig, TeacherConfig
from nas_distill.objectives import check_objectives
from nas_distill.records import Recipe, SpaceTrial, StudentSpec
from nas_distill.records.network_shape import NetworkShape
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.driver.budget import BudgetWatch
from nas_distill.search.driver.driver import SearchDriver
from nas_distill.search.early_stopping.asha import Asha
from nas_distill.search.early_stopping.curves import EarlyStopper
from nas_distill.search.proposal.costs import CostEstimator
from nas_distill.search.proposal.initial_weights import InitialWeightsChooser
from nas_distill.search.proposal.limits import make_limits
from nas_distill.search.proposal.proposer import Proposer
from nas_distill.search.spaces.loading import Space
from nas_distill.search.spaces.recipes import load_recipe_space, make_choices
from nas_distill.search.study.ledger import StudyLedger
from nas_distill.trial.context import TrialContext
from nas_distill.trial.run import run_trial
from tests.helpers import Heard, SmallRun, make_space_context

OBJECTIVES = check_objectives(("gap_points", "num_params"))
RECIPE = Recipe(epochs=2, batch_size=64)


def widths(trial: SpaceTrial) -> StudentSpec:
    width = trial.suggest_int("width", 2, 12)
    return StudentSpec(architecture="small_resnet", arguments={"widths": (width, width), "depths": (1, 1)})


def open_driver(
    folder: Path,
    small: SmallRun,
    *,
    total: int = 3,
    max_failures: int = 0,
    function: Callable[[SpaceTrial], StudentSpec] = widths,
    asha: Asha | None = None,
    watch: BudgetWatch | None = None,
    heard: Heard | None = None,
) -> tuple[SearchDriver, Heard]:
    run = RunDirectory(folder)
    storage, name = run.own_storage, "nas_distill"
    ledger = StudyLedger(storage, name, OBJECTIVES, 0)
    proposer = Proposer(
        ledger,
        space=Space(name="widths", function=function, source_path=Path(__file__), doc=""),
        context=make_space_context(),
        initial_weights=InitialWeightsChooser(),
        limits=make_limits(SpaceConfig(), small.run.read_teacher().cost),
        cost_estimator=CostEstimator(NetworkShape(num_classes=10, channels=1, image_size=8)),
        recipe=RECIPE,
        seed=0,
        max_rejections=20,
        known=ledger.assigned(),
        recipes=load_recipe_space("fixed"),
        choices=make_choices(Recipe(), TeacherConfig()),
    )
    heard = heard or Heard()
    driver = SearchDriver(
        run,
        ledger,
        proposer,
        objectives=OBJECTIVES,
        max_failures=max_failures,
        progress=heard,
        stopping=None if asha is None else EarlyStopper(asha, OBJECTIVES),
        watch=watch or BudgetWatch(BudgetConfig(trials=total)),
    )
    return driver, heard


def work(driver: SearchDriver, folder: Path, context: TrialContext, *, at_most: int = 100) -> list[int]:
    """Do the work of a worker: take tasks, train them, report. Returns the numbers of the trials."""
    numbers: list[int] = []
    while len(numbers) < at_most and (task := driver.next_task()) is not None:
        run_trial(task, context, RunDirectory(folder).trial(task.number))
        driver.trial_ended(task.number, None)
        numbers.append(task.number)
    return numbers


def rows(folder: Path) -> list[optuna.trial.FrozenTrial]:
    storage, name = RunDirectory(folder).own_storage, "nas_distill"
    return optuna.load_study(study_name=name, storage=storage).trials


def trained(folder: Path) -> list[int]:
    return [row.number for row in rows(folder) if row.state is TrialState.COMPLETE]
