"""One session of a search, on a run directory that is prepared: its trials, its assistants, its folds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from nas_distill.callbacks import Progress
from nas_distill.config import SearchConfig
from nas_distill.data.manifest import DataManifest
from nas_distill.objectives import check_objectives
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.tune import run_tune
from nas_distill.search.driver.budget import BEGIN, END, Budget, watch_budget
from nas_distill.search.driver.driver import SearchDriver
from nas_distill.search.early_stopping.curves import Stopping, describe_stopping, make_stopping
from nas_distill.search.early_stopping.rules import NO_RULE
from nas_distill.search.proposal.costs import CostEstimator
from nas_distill.search.proposal.limits import make_limits
from nas_distill.search.proposal.proposer import Proposer
from nas_distill.search.retrain.assistants import Assistance
from nas_distill.search.retrain.cross_validation import score_picks
from nas_distill.search.setup.prepare import Prepared
from nas_distill.search.setup.workers import Equip, equip, input_shape, shard_pool
from nas_distill.search.spaces.loading import load_space
from nas_distill.search.spaces.recipes import load_recipe_space, make_choices
from nas_distill.search.study.fingerprint import Fingerprint, source_digest
from nas_distill.search.study.ledger import StudyLedger


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOutcome:
    """How a call of the service ended.

    Attributes:
        run: The run directory.
        interrupted: Ctrl-C or SIGTERM ended it early; `resume_search` goes on.
        new_trials: Trials that ended in this call.
    """

    run: RunDirectory
    interrupted: bool
    new_trials: int


def note_search(ledger: StudyLedger, config: SearchConfig, data: DataManifest, progress: Progress) -> None:
    """Notes in the study what its trials have in common.

    Raises:
        StudyError: It was searched for something else.
    """
    space, recipes = load_space(config.space.name), load_recipe_space(config.space.recipe)
    fingerprint = Fingerprint(
        data_id=data.data_id,
        space=space.name,
        space_source=source_digest(space.source_path, space.name),
        recipe=recipes.name,
        recipe_source=source_digest(recipes.source_path, recipes.name),
        epochs=config.recipe.epochs,
    )
    for change in ledger.set_fingerprint(fingerprint):
        progress.event("warning", f"the study was searched {change}: accepted, since it had raised")


def search_session(
    run: RunDirectory, config: SearchConfig, prepared: Prepared, ledger: StudyLedger, progress: Progress
) -> SearchOutcome:
    """Searches with what is prepared, on the connected cluster; then lets assistants teach and scores picks in folds.

    Args:
        run: The run directory, locked.
        config: What this session is searched with.
        prepared: Data, teacher and answers.
        ledger: The study; trials that it holds are gone on with.
        progress: Told of everything.

    Raises:
        NasDistillError: One of its kinds, see `errors`; nothing computed is lost.
    """
    ledger.set_teacher(prepared.teacher)
    note_search(ledger, config, prepared.manifest, progress)
    epochs, objectives = config.recipe.epochs, check_objectives(config.objectives)
    stopping = make_stopping(config.asha, epochs=epochs, objectives=objectives)
    driver = _make_driver(run, config, prepared, ledger, stopping=stopping, progress=progress)
    if driver.remaining and config.asha.rule != NO_RULE:
        progress.event("asha", describe_stopping(stopping, config.asha, epochs=epochs))
    equip_once = cache(lambda: equip(run, config, prepared, progress))
    finished = _run_on_cluster(driver, run, config, equip_once, progress)
    if finished:
        driver.settle()
    if driver.failure is not None:
        raise driver.failure
    assistance = Assistance(
        run,
        config,
        ledger,
        equip=equip_once,
        make_pool=lambda assistant: shard_pool(run, config, assistant),
        progress=progress,
    )
    interrupted = not finished and driver.unfinished > 0
    if not interrupted and (config.assistants.count or run.assistants.exists()):
        interrupted = not finished or not assistance.teach()
    if not interrupted and config.picks.folds:
        interrupted = not finished or not score_picks(run, config, ledger.assigned(), assistance.equip_all, progress)
    return SearchOutcome(run=run, interrupted=interrupted, new_trials=driver.new_trials + assistance.new_trials)


def _make_driver(
    run: RunDirectory,
    config: SearchConfig,
    prepared: Prepared,
    ledger: StudyLedger,
    *,
    stopping: Stopping | None,
    progress: Progress,
) -> SearchDriver:
    proposer = Proposer(
        ledger,
        space=load_space(config.space.name),
        limits=make_limits(config.space, prepared.teacher.cost),
        cost_estimator=CostEstimator(input_shape(prepared), prepared.head),
        recipe=config.recipe,
        recipes=load_recipe_space(config.space.recipe),
        choices=make_choices(config, images_per_class=prepared.manifest.images_per_class),
        seed=config.seed,
        max_rejections=config.budget.max_rejections,
        known=ledger.assigned(),
    )
    objectives = check_objectives(config.objectives)
    return SearchDriver(
        run,
        ledger,
        proposer,
        objectives=objectives,
        total=config.budget.most_trials,
        max_failures=config.resources.max_failures,
        progress=progress,
        watch=watch_budget(_budget(config), objectives, prepared.teacher, run.read_events()),
        stopping=stopping,
    )


def _run_on_cluster(
    driver: SearchDriver, run: RunDirectory, config: SearchConfig, equip_once: Equip, progress: Progress
) -> bool:
    """Returns False when the user ended it early."""
    run.log_event(BEGIN, trials=config.budget.most_trials, left=driver.remaining)
    finished = True
    try:
        if driver.remaining == 0:
            progress.event("search", f"nothing is left to hand out: {driver.enough}; extend the run with --resume")
            return True
        number = driver.remaining if config.budget.most_trials is not None else "as many trials as the budget allows"
        progress.event("search", f"{number}{' trials' if isinstance(number, int) else ''} to run in {run.path}")
        worker_config, resources = equip_once()
        finished = run_tune(driver, worker_config, resources, space_name=config.space.name)
    except KeyboardInterrupt:
        finished = False
    finally:
        run.log_event(END, interrupted=not finished)
    return finished


def _budget(config: SearchConfig) -> Budget:
    """Returns the bounds beside the number of trials, which the driver counts."""
    budget = config.budget
    return Budget(time_s=budget.time_s, epochs=budget.epochs, patience=budget.patience)
