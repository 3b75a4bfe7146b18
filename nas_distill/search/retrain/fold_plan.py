"""Plans the trainings of a cross-validation of the picked students. No Ray."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nas_distill.analysis.run import Run
from nas_distill.config import PicksConfig
from nas_distill.records import Fold
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.layout import RunDirectory


def plan_folds(run: RunDirectory, picks: PicksConfig, assigned: Iterable[TrialTask]) -> tuple[TrialTask, ...]:
    """Return one task per picked student and fold, finished ones included; none when `picks.folds` is 0.

    A student keeps the recipe, the teacher and the number of epochs of its trial. The seed is derived from the trial's
    seed and the fold.

    Args:
        run: The run directory; students are picked from its study as the report picks them.
        picks: How students are picked, and the number of folds.
        assigned: Tasks of all trials that were ever scheduled.

    Raises:
        StudyError: The study cannot be read.
    """
    count = picks.folds
    if count == 0:
        return ()
    found = Run(run.path).picks_within(picks.gap_tolerance_points)
    by_number = {task.number: task for task in assigned}
    numbers = dict.fromkeys(pick.number for pick in found if pick.number is not None)
    return tuple(
        _task_of_fold(by_number[number], Fold(number=part, of=count)) for number in numbers for part in range(count)
    )


def _task_of_fold(task: TrialTask, fold: Fold) -> TrialTask:
    seed = int(np.random.SeedSequence((task.seed, fold.of, fold.number)).generate_state(1)[0])
    return task.model_copy(update={"seed": seed, "fold": fold})
