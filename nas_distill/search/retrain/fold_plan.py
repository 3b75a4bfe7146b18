"""Which trainings a cross-validation of the picked students takes; without Ray."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nas_distill.analysis.front.front import pareto_front
from nas_distill.analysis.front.picks import pick_students
from nas_distill.analysis.trials.study_reader import read_study
from nas_distill.config import SearchConfig
from nas_distill.records import Fold
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.layout import RunDirectory


def plan_folds(run: RunDirectory, config: SearchConfig, assigned: Iterable[TrialTask]) -> tuple[TrialTask, ...]:
    """Returns one assignment per picked student and fold, those that have ended included; none without folds.

    Students keep their trial's recipe, teacher and epochs. The seed is derived from the trial's and the fold.

    Args:
        run: Whose study the students are picked from, as the report picks them.
        config: How.
        assigned: All trials that were ever handed out.

    Raises:
        StudyError: The study cannot be read.
    """
    count = config.picks.folds
    if count == 0:
        return ()
    study = read_study(run)
    front = pareto_front(study.trials, study.objectives, study.teacher)
    picks = pick_students(front, gap_tolerance_points=config.picks.gap_tolerance_points)
    by_number = {task.number: task for task in assigned}
    numbers = dict.fromkeys(pick.number for pick in picks if pick.number is not None)
    return tuple(
        _of_fold(by_number[number], Fold(number=part, of=count)) for number in numbers for part in range(count)
    )


def _of_fold(task: TrialTask, fold: Fold) -> TrialTask:
    seed = int(np.random.SeedSequence((task.seed, fold.of, fold.number)).generate_state(1)[0])
    return task.model_copy(update={"seed": seed, "fold": fold})
