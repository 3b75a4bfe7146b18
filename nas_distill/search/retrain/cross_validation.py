"""K-fold cross-validation of the picked students, on the connected Ray cluster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nas_distill.callbacks import Progress
from nas_distill.config import PicksConfig
from nas_distill.records import TrialRecord
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.trainings import TrainingKind, train_tasks, unfinished_tasks
from nas_distill.search.backend.workers import PlanWorkers, WorkerSetup
from nas_distill.search.retrain.fold_plan import plan_folds

_TASK = "folds"


def score_picks(
    run: RunDirectory,
    picks: PicksConfig,
    assigned: Iterable[TrialTask],
    plan_workers: PlanWorkers,
    progress: Progress,
) -> bool:
    """Score the picked students of a finished search on `picks.folds` folds. Scores that exist are kept.

    Args:
        run: The run directory.
        picks: How students are picked, and the number of folds, at least 2.
        assigned: Tasks of all trials that were ever scheduled.
        plan_workers: Called when something is left to train.
        progress: Watcher of the work.

    Returns:
        False when the user ended it early.

    Raises:
        StudyError: The study cannot be read.
        ClusterError: Workers died.
        NasDistillError: A worker raised it.
    """
    planned = plan_folds(run, picks, assigned)
    if not planned:
        progress.event(_TASK, "no student was picked, so cross-validation has nothing to score")
    if not unfinished_tasks(run, planned):
        return True
    try:
        score_folds(planned, plan_workers(), progress)
    except KeyboardInterrupt:
        return False
    return True


def score_folds(planned: Sequence[TrialTask], setup: WorkerSetup, progress: Progress) -> tuple[TrialRecord, ...]:
    """Train and score the planned tasks that have no result yet; returns and raises as `train_tasks`."""
    left = len(unfinished_tasks(setup.run, planned))
    if left:
        students = len({task.number for task in planned})
        finished = f", {len(planned) - left} of them finished before" if left < len(planned) else ""
        progress.event(
            _TASK,
            f"scoring {students} picked student{'s' if students > 1 else ''} by cross-validation: "
            f"{len(planned)} trainings{finished}",
        )
    kind = TrainingKind(task=_TASK, field="picks.folds", resume=f"--resume {setup.run.path}", name=_name)
    return train_tasks(planned, kind=kind, setup=setup, progress=progress)


def _name(task: TrialTask) -> str:
    assert task.fold is not None
    return f"trial {task.number}, fold {task.fold.number + 1} of {task.fold.of}"
