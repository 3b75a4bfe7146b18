"""K-fold cross-validation of the picked students, on the connected Ray cluster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from nas_distill.callbacks import Progress
from nas_distill.config import ResourcesConfig, SearchConfig
from nas_distill.records import TrialRecord
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.actor_pool import Purpose, train_repeats, unended
from nas_distill.search.retrain.fold_plan import plan_folds
from nas_distill.search.setup.workers import PlanWorkers
from nas_distill.trial.context import WorkerConfig

_TASK = "folds"


def score_picks(
    run: RunDirectory, config: SearchConfig, assigned: Iterable[TrialTask], equip: PlanWorkers, progress: Progress
) -> bool:
    """Scores the picked students of a finished search by `picks.folds`, as far as they are not scored yet.

    Args:
        run: The search's.
        config: With folds.
        assigned: See `plan_folds`.
        equip: Called when something is left to train.
        progress: Told of everything.

    Returns:
        False when the user ended it early.

    Raises:
        NasDistillError: As `plan_folds` and `score_folds` raise it.
    """
    planned = plan_folds(run, config, assigned)
    if not planned:
        progress.event(_TASK, "no student was picked, so there is none to score by cross-validation")
    if not unended(run, planned):
        return True
    try:
        workers = equip()
        score_folds(
            planned,
            worker_config=workers.config,
            resources=workers.resources,
            space_name=config.space.name,
            progress=progress,
        )
    except KeyboardInterrupt:
        return False
    return True


def score_folds(
    planned: Sequence[TrialTask],
    *,
    worker_config: WorkerConfig,
    resources: ResourcesConfig,
    space_name: str,
    progress: Progress,
) -> tuple[TrialRecord, ...]:
    """Trains and scores what has not ended of `planned` (`plan_folds`); arguments and errors as of `train_repeats`."""
    run = RunDirectory(Path(worker_config.run))
    left = len(unended(run, planned))
    if left:
        students = len({task.number for task in planned})
        ended = f", {len(planned) - left} of them ended before" if left < len(planned) else ""
        progress.event(
            _TASK,
            f"scoring {students} picked student{'s' if students > 1 else ''} by cross-validation: "
            f"{len(planned)} trainings{ended}",
        )
    purpose = Purpose(task=_TASK, field="picks.folds", way_on=f"--resume {run.path}", name=_name)
    return train_repeats(
        planned,
        purpose=purpose,
        worker_config=worker_config,
        resources=resources,
        space_name=space_name,
        progress=progress,
    )


def _name(task: TrialTask) -> str:
    assert task.fold is not None
    return f"trial {task.number}, fold {task.fold.number + 1} of {task.fold.of}"
