"""One session of a search in a prepared run directory: trials, then assistants, then cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from nas_distill.callbacks import Progress
from nas_distill.config import FIXED_RECIPE, SearchConfig
from nas_distill.data.manifest import DataManifest
from nas_distill.objectives import check_objectives
from nas_distill.records import Recipe
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.shard_pool import RayShardPool
from nas_distill.search.backend.tune import run_tune
from nas_distill.search.backend.workers import PlanWorkers, WorkerSetup
from nas_distill.search.driver.budget import BEGIN, END, INTERRUPTED, watch_budget
from nas_distill.search.driver.driver import SearchDriver
from nas_distill.search.early_stopping.curves import EarlyStopper, describe_early_stopping, make_early_stopper
from nas_distill.search.early_stopping.rules import NO_RULE
from nas_distill.search.proposal.costs import CostEstimator
from nas_distill.search.proposal.first_points import plan_first_points
from nas_distill.search.proposal.proposer import Proposer
from nas_distill.search.retrain.assistants import AssistantRounds, AssistantSettings
from nas_distill.search.retrain.cross_validation import score_picks
from nas_distill.search.setup.assistant_outputs import store_assistant_outputs
from nas_distill.search.setup.drop_rates import explain_ignored_rates
from nas_distill.search.setup.initial_weights import choose_initial_weights
from nas_distill.search.setup.knowledge import plan_knowledge
from nas_distill.search.setup.prepare import Prepared
from nas_distill.search.setup.space_context import SpaceSetup, setup_space
from nas_distill.search.setup.workers import plan_workers
from nas_distill.search.spaces.loading import load_space
from nas_distill.search.spaces.recipes import load_recipe_space, make_choices
from nas_distill.search.study.fingerprint import Fingerprint, source_digest, training_settings
from nas_distill.search.study.ledger import StudyLedger


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOutcome:
    """How a call of `start_search` or `resume_search` ended.

    Attributes:
        run: The run directory.
        interrupted: Whether Ctrl-C or SIGTERM ended it early; `resume_search` continues it.
        new_trials: Number of trials that ended in this call.
    """

    run: RunDirectory
    interrupted: bool
    new_trials: int


def search_session(
    run: RunDirectory, config: SearchConfig, prepared: Prepared, ledger: StudyLedger, progress: Progress
) -> SearchOutcome:
    """Run the remaining trials on the connected cluster, then assistants, then the cross-validation of the picks.

    Args:
        run: The run directory, locked.
        config: Configuration of this session.
        prepared: Data, teacher and knowledge.
        ledger: The study; its unfinished trials are continued.
        progress: Receives events.

    Raises:
        NasDistillError: The search cannot continue. All results so far are kept.
    """
    ledger.set_teacher(prepared.teacher)
    record_fingerprint(ledger, config, prepared.manifest, progress)

    @cache
    def plan_once() -> WorkerSetup:
        return plan_workers(
            run,
            prepared,
            data=config.data,
            space=config.space,
            recipe=config.recipe,
            resources=config.resources,
            seed=config.seed,
            user_modules=config.user_modules,
            progress=progress,
        )

    demands = setup_space(run, config.space, prepared.manifest.network_shape)
    proposer = _make_proposer(config, prepared, demands, ledger, progress)
    driver = _make_driver(run, config, prepared, proposer=proposer, ledger=ledger, progress=progress)
    if ledger.damaged:
        numbers = ", ".join(map(str, sorted(ledger.damaged)))
        progress.event("warning", f"the records of trials {numbers} are damaged: run `nas_distill repair {run.path}`")
    if driver.remaining:
        _announce_space(config, demands, progress)
    finished = _run_trials(driver, run, config, plan_once, progress)
    if finished:
        driver.settle()
    if driver.failure is not None:
        raise driver.failure
    rounds = _make_assistant_rounds(run, config, ledger, plan_once, progress)
    interrupted = not finished and driver.unfinished > 0
    if not interrupted and (config.assistants.count or run.assistants.exists()):
        interrupted = not finished or not rounds.teach()
    if not interrupted and config.picks.folds:
        interrupted = not finished or not score_picks(run, config.picks, ledger.assigned(), rounds.workers, progress)
    if interrupted:
        run.log_event(INTERRUPTED)
    return SearchOutcome(run=run, interrupted=interrupted, new_trials=driver.new_trials + rounds.new_trials)


def record_fingerprint(ledger: StudyLedger, config: SearchConfig, data: DataManifest, progress: Progress) -> None:
    """Record in the study what all its trials have in common, and warn about an accepted change of the space.

    Raises:
        StudyError: The earlier trials of the study have something else in common.
    """
    space, recipes = load_space(config.space.resolved_name), load_recipe_space(config.space.recipe)
    fingerprint = Fingerprint(
        data_id=data.data_id,
        space=space.name,
        space_source=source_digest(space.source_path, space.name),
        recipe=recipes.name,
        recipe_source=source_digest(recipes.source_path, recipes.name),
        epochs=config.recipe.epochs,
        initial_weights=config.space.initial_weights,
        settings=training_settings(config),
    )
    for change in ledger.set_fingerprint(fingerprint):
        progress.event("warning", f"the study was searched {change}: accepted, because that space had raised an error")


def _announce_space(config: SearchConfig, demands: SpaceSetup, progress: Progress) -> None:
    """Report the space, what it chose for this search, and the limits on its candidates."""
    space = load_space(config.space.resolved_name)
    chosen = space.describe(demands.context) if space.describe is not None else ""
    progress.event("space", f"{space.name}{chosen and f': {chosen}'}; students have {demands.limits.describe()}")
    if config.space.recipe == FIXED_RECIPE:
        for line in explain_ignored_rates(space, demands.context, config.recipe, seed=config.seed):
            progress.event("warning", line)


def _make_driver(
    run: RunDirectory,
    config: SearchConfig,
    prepared: Prepared,
    *,
    proposer: Proposer,
    ledger: StudyLedger,
    progress: Progress,
) -> SearchDriver:
    objectives = check_objectives(config.objectives)
    return SearchDriver(
        run,
        ledger,
        proposer,
        objectives=objectives,
        max_failures=config.resources.max_failures,
        progress=progress,
        watch=watch_budget(config.budget, objectives, prepared.teacher, run.read_events()),
        stopping=_make_early_stopper(config),
    )


def _make_assistant_rounds(
    run: RunDirectory, config: SearchConfig, ledger: StudyLedger, plan_workers: PlanWorkers, progress: Progress
) -> AssistantRounds:
    def store_outputs(assistant: int, recipes: Sequence[Recipe]) -> dict[str, str]:
        return store_assistant_outputs(
            run,
            config.data,
            plan_knowledge(config.recipe, config.teacher, config.views),
            assistant=assistant,
            recipes=recipes,
            progress=progress,
            pool=RayShardPool(
                run, config.data, config.resources, user_modules=config.user_modules, assistant=assistant
            ),
        )

    settings = AssistantSettings(
        assistants=config.assistants,
        picks=config.picks,
        objectives=check_objectives(config.objectives),
        max_failures=config.resources.max_failures,
    )
    return AssistantRounds(
        run, ledger, settings, plan_workers=plan_workers, store_outputs=store_outputs, progress=progress
    )


def _make_early_stopper(config: SearchConfig) -> EarlyStopper | None:
    return make_early_stopper(config.asha, epochs=config.recipe.epochs, objectives=check_objectives(config.objectives))


def _make_proposer(
    config: SearchConfig, prepared: Prepared, demands: SpaceSetup, ledger: StudyLedger, progress: Progress
) -> Proposer:
    space = load_space(config.space.resolved_name)
    costs = CostEstimator(prepared.manifest.network_shape, prepared.head, prepared.meter)
    initial_weights = choose_initial_weights(config.space, demands.context)
    if config.space.initial_points is None and ledger.num_trials == 0:
        points = plan_first_points(
            space,
            demands.context,
            initial_weights=initial_weights,
            limits=demands.limits,
            costs=costs,
            recipe=config.recipe,
        )
        ledger.set_initial_points(points)
        if points:
            progress.event("space", f"the first {len(points)} trials are the teacher scaled down, with its weights")
    return Proposer(
        ledger,
        space=space,
        context=demands.context,
        initial_weights=initial_weights,
        limits=demands.limits,
        cost_estimator=costs,
        recipe=config.recipe,
        recipes=load_recipe_space(config.space.recipe),
        choices=make_choices(
            config.recipe,
            config.teacher,
            mixes=config.views.mixes,
            folds=config.picks.folds,
            images_per_class=prepared.manifest.images_per_class,
        ),
        seed=config.seed,
        max_rejections=config.budget.max_rejections,
        known=ledger.assigned(),
    )


def _run_trials(
    driver: SearchDriver, run: RunDirectory, config: SearchConfig, plan_workers: PlanWorkers, progress: Progress
) -> bool:
    """Run the remaining trials; return False if the user interrupted them."""
    if driver.remaining and config.asha.rule != NO_RULE:
        stopper = _make_early_stopper(config)
        progress.event("asha", describe_early_stopping(stopper, config.asha, epochs=config.recipe.epochs))
    run.log_event(BEGIN, trials=config.budget.most_trials, left=driver.remaining)
    finished = True
    try:
        if driver.remaining == 0:
            progress.event("search", f"no trial is left to run: {driver.enough}; extend the run with --resume")
            return True
        count = f"{driver.remaining} trials" if config.budget.most_trials is not None else "trials within the budget"
        progress.event("search", f"{count} to run in {run.path}")
        finished = run_tune(driver, plan_workers())
    except KeyboardInterrupt:
        finished = False
    finally:
        run.log_event(END, interrupted=not finished)
    return finished
