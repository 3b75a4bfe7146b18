"""Which trainings a cross-validation of the picked students takes; without Ray."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nas_distill.analysis.trials.study_reader import read_study
from nas_distill.analysis.front.front import pareto_front
from nas_distill.analysis.front.picks import pick_students
from nas_distill.records.task import Assignment
from nas_distill.config import FIXED_RECIPE, SearchConfig
from nas_distill.errors import ConfigError
from nas_distill.records import Fold
from nas_distill.run_directory.layout import RunDirectory


def check_folds(config: SearchConfig) -> None:
    """Checks that students of the configuration can be scored by its folds.

    Raises:
        ConfigError: Every recipe mixes images, which brings those of a fold into the training.
    """
    mix, others = config.recipe.mix, config.views.mixes
    if config.space.recipe == FIXED_RECIPE:
        others = ()
    if config.picks.folds and "none" not in (mix, *others):
        searched = f", and views.mixes holds {', '.join(others)}" if others else ""
        raise ConfigError(
            f"picks.folds: recipe.mix is {mix}{searched}, which mixes images of the fold that is left out into those "
            "that are trained on; leave --folds out, or set recipe.mix=none"
        )


def plan_folds(run: RunDirectory, config: SearchConfig, assigned: Iterable[Assignment]) -> tuple[Assignment, ...]:
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
    by_number = {assignment.number: assignment for assignment in assigned}
    numbers = dict.fromkeys(pick.number for pick in picks if pick.number is not None)
    return tuple(
        _of_fold(by_number[number], Fold(number=part, of=count)) for number in numbers for part in range(count)
    )


def _of_fold(assignment: Assignment, fold: Fold) -> Assignment:
    seed = int(np.random.SeedSequence((assignment.seed, fold.of, fold.number)).generate_state(1)[0])
    return assignment.model_copy(update={"seed": seed, "fold": fold})
