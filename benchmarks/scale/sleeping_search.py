"""A search whose trials sleep, with the real proposer, study, driver and Ray Tune."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from benchmarks.common.cost_estimator import AnalyticCostEstimator
from benchmarks.common.space_context import context_of
from benchmarks.scale.sleeping import Sleep, SleepingTrainable
from nas_distill.callbacks import Progress
from nas_distill.config import AshaConfig, BudgetConfig, ResourcesConfig, SamplerConfig, TeacherConfig
from nas_distill.objectives import check_objectives
from nas_distill.records import Cost, Recipe, SpaceTrial, StudentSpec
from nas_distill.records.network_shape import NetworkShape
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.tune import run_trainable
from nas_distill.search.driver.budget import BudgetWatch
from nas_distill.search.driver.driver import SearchDriver
from nas_distill.search.early_stopping.curves import make_early_stopper
from nas_distill.search.proposal.initial_weights import InitialWeightsChooser
from nas_distill.search.proposal.limits import Limits
from nas_distill.search.proposal.proposer import Proposer
from nas_distill.search.spaces.loading import Space
from nas_distill.search.spaces.recipes import load_recipe_space, make_choices
from nas_distill.search.study.ledger import StudyLedger

OBJECTIVES = check_objectives(("gap_points", "num_params"))
STUDY = "nas_distill"
SHAPE = NetworkShape(num_classes=10, channels=1, image_size=8)
TEACHER_COST = Cost(num_params=1_000_000, macs=10_000_000, size_bytes=4_000_000)
WIDTHS = (2, 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class SleepingSearch:
    """Settings of a search.

    Attributes:
        trials: Number of trials.
        epochs: Epochs per trial.
        sleep: Duration of trials.
        initial_points: Parameters of the first candidates, in order.
        rule: Rule of early stopping.
        seed: Seed of the sampler.
    """

    trials: int
    epochs: int
    sleep: Sleep
    initial_points: Sequence[Mapping[str, Any]] = ()
    rule: str = "none"
    seed: int = 0


def two_widths(trial: SpaceTrial) -> StudentSpec:
    """Build networks of two stages; the space has about 4,000 of them."""
    widths = tuple(trial.suggest_int(name, *WIDTHS, log=True) for name in ("first", "second"))
    return StudentSpec(architecture="small_resnet", arguments={"widths": widths, "depths": (1, 1)}, family="resnet")


class RandomProposer(Proposer):
    """A proposer that can also propose at random."""

    def next_at_random(self) -> TrialTask:
        """Return a task whose parameters are drawn uniformly, regardless of the sampler."""
        while True:
            outcome = self._try_one(at_random=True)
            if isinstance(outcome, TrialTask):
                return outcome


def make_proposer(
    ledger: StudyLedger,
    space: Space,
    *,
    cost_estimator: AnalyticCostEstimator,
    recipe: Recipe,
    recipes: str,
    seed: int,
) -> RandomProposer:
    """Return a proposer without cost limits."""
    return RandomProposer(
        ledger,
        space=space,
        context=context_of(SHAPE, TEACHER_COST),
        initial_weights=InitialWeightsChooser(),
        limits=Limits(),
        cost_estimator=cost_estimator,
        recipe=recipe,
        recipes=load_recipe_space(recipes),
        choices=make_choices(Recipe(), TeacherConfig()),
        seed=seed,
        max_rejections=1000,
        known=ledger.assigned(),
    )


def run_sleeping(
    folder: Path, settings: SleepingSearch, resources: ResourcesConfig, progress: Progress
) -> SearchDriver:
    """Run or resume a search on the connected cluster, and return its driver.

    Raises:
        NasDistillError: The search failed.
    """
    run = RunDirectory(folder)
    run.path.mkdir(parents=True, exist_ok=True)
    ledger = StudyLedger(run.own_storage, STUDY, OBJECTIVES, settings.seed, SamplerConfig(name="random"))
    if settings.initial_points and ledger.num_trials == 0:
        ledger.set_initial_points(settings.initial_points)
    recipe = Recipe(epochs=settings.epochs)
    driver = SearchDriver(
        run,
        ledger,
        make_proposer(
            ledger,
            Space(name="two_widths", function=two_widths, source_path=Path(__file__), doc=""),
            cost_estimator=AnalyticCostEstimator(SHAPE),
            recipe=recipe,
            recipes="fixed",
            seed=settings.seed,
        ),
        objectives=OBJECTIVES,
        watch=BudgetWatch(BudgetConfig(trials=settings.trials)),
        max_failures=2,
        progress=progress,
        stopping=make_early_stopper(AshaConfig(rule=settings.rule), epochs=settings.epochs, objectives=OBJECTIVES),
    )
    trainable = tune.with_parameters(SleepingTrainable, run=str(folder), sleep=settings.sleep, rungs=driver.rungs)
    if driver.remaining:
        run_trainable(driver, run, trainable, resources)
        driver.settle()
    ledger.close()
    if driver.failure is not None:
        raise driver.failure
    return driver
