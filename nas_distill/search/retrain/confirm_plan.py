"""Which trainings it takes to confirm picked students; without Ray."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas_distill.analysis.front.front import ParetoFront, pareto_front
from nas_distill.analysis.front.picks import pick_students
from nas_distill.analysis.trials.study_reader import StudySnapshot, read_study
from nas_distill.config import SearchConfig
from nas_distill.errors import ConfigError, NoStudentError, nearest_names
from nas_distill.losses.registry import resolve_losses
from nas_distill.records import Arm, Confirmation, Fold, Recipe, TrialStatus
from nas_distill.records.recipe import Adaptation
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.layout import RunDirectory

FRONT = "front"
"""Asks for every student on the front."""

_CONFIRMING = 1
"""Last in the derivation of seeds: no training of the search has the same, in its folds and epochs either. (Of numbers
that differ only by zeros at the end, NumPy makes one seed.)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be confirmed, and how.

    Attributes:
        picks: Names of rules, numbers of trials, or `FRONT`; empty for the three picks of the report.
        seeds: Repetitions with seeds of their own, scored on the test split, at least 1; unless there are folds.
        folds: Parts of the training split, on each of which a student is scored that was trained on the others; 0 for
            none, else at least 2.
        release: Train a third time, with per-class release.
    """

    picks: tuple[str, ...] = ()
    seeds: int = 5
    folds: int = 0
    release: bool = False

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ConfigError(f"--seeds: {self.seeds} repetitions confirm nothing; give at least 1, such as 5")
        if self.folds == 1 or self.folds < 0:
            raise ConfigError(f"--folds: {self.folds} is no number of parts; give at least 2, such as 5")


def choose_students(study: StudySnapshot, config: SearchConfig, asked: Sequence[str]) -> tuple[int, ...]:
    """Returns the trial numbers of the students that `asked` names, each once, in its order.

    Args:
        study: The search's.
        config: Whose tolerance the picks keep.
        asked: See `Request.picks`.

    Raises:
        NoStudentError: No student was fully trained.
        ConfigError: A name is unknown, or a trial has no fully trained student.
    """
    front = pareto_front(study.trials, study.objectives, study.teacher)
    if not len(front.members):
        raise NoStudentError("confirm: no student was fully trained, so there is none to confirm; search further first")
    rules = _rules(front, config)
    trained = study.trials[study.trials["status"] == TrialStatus.COMPLETE]["number"]
    known = {int(number) for number in trained}
    chosen: list[int] = []
    for name in asked or tuple(rules):
        chosen += _named(name.strip(), rules, front, known)
    return tuple(dict.fromkeys(chosen))


def plan_confirmation(
    run: RunDirectory, config: SearchConfig, assigned: Iterable[TrialTask], request: Request
) -> tuple[TrialTask, ...]:
    """Returns one assignment per student, repetition and arm, those that have ended included.

    The arms of a repetition share their seed, which is derived from the trial's and the repetition.

    Args:
        run: Whose study the students are chosen from.
        config: The search's.
        assigned: All trials that were ever handed out.
        request: What is to be confirmed.

    Raises:
        NoStudentError: No student was fully trained.
        ConfigError: A pick is unknown, or a recipe mixes images of the fold into the training.
        StudyError: The study cannot be read.
    """
    by_number = {task.number: task for task in assigned}
    numbers = choose_students(read_study(run), config, request.picks)
    for number in numbers:
        _check_mix(by_number[number], request)
    return tuple(
        one
        for number in numbers
        for repetition in range(request.folds or request.seeds)
        for one in _arms(by_number[number], repetition, request)
    )


def control_recipe(recipe: Recipe) -> Recipe:
    """Returns the recipe without the teacher: labels at a weight of at least 1, nothing that adapts the teacher's part.

    What the teacher's terms lose of their weight the labels gain (`Adaptation`); here they lose all of it, from the
    start.
    """
    return recipe.model_copy(
        update={"losses": {}, "label_weight": max(1.0, recipe.label_weight), "adaptive": Adaptation()}
    )


def released_recipe(recipe: Recipe) -> Recipe:
    """Returns the recipe with per-class release, its share and level as they were."""
    return recipe.model_copy(update={"adaptive": recipe.adaptive.model_copy(update={"release": True})})


def unreleased(planned: Iterable[TrialTask]) -> tuple[str, ...]:
    """Returns a line for each student that gets no arm with per-class release, with the reason."""
    recipes = {one.number: one.recipe for one in planned if one.confirmation and one.confirmation.arm == "distilled"}
    reasons = ((number, _why_unreleased(recipe)) for number, recipe in recipes.items())
    return tuple(f"trial {number} gets no arm with release: {reason}" for number, reason in reasons if reason)


def _why_unreleased(recipe: Recipe) -> str | None:
    """Returns why a recipe gets no arm with per-class release; None where it gets one."""
    if not resolve_losses(recipe):
        return "it is trained without the teacher"
    if recipe.adaptive.release:
        return "its own recipe releases classes"
    try:
        resolve_losses(released_recipe(recipe))
    except ConfigError as error:
        return str(error)
    return None


def _rules(front: ParetoFront, config: SearchConfig) -> Mapping[str, int | None]:
    picks = pick_students(front, gap_tolerance_points=config.picks.gap_tolerance_points)
    return {pick.rule: pick.number for pick in picks}


def _named(name: str, rules: Mapping[str, int | None], front: ParetoFront, known: set[int]) -> list[int]:
    if name == FRONT:
        return list(front.numbers)
    if name in rules:
        number = rules[name]
        return [] if number is None else [number]
    if not (name.isascii() and name.isdigit()):
        raise ConfigError(
            f"--picks: '{name}' is no pick; {nearest_names(name, [*rules, FRONT])}, or give numbers of trials"
        )
    if int(name) not in known:
        raise ConfigError(
            f"--picks: trial {int(name)} has no fully trained student; of {len(known)} that have one, "
            f"{', '.join(map(str, front.numbers[:10]))} stand on the front"
        )
    return [int(name)]


def _check_mix(task: TrialTask, request: Request) -> None:
    mix = task.recipe.mix
    if request.folds and mix != "none":
        raise ConfigError(
            f"--folds: the recipe of trial {task.number} uses {mix}, which mixes images of the fold that is left "
            "out into those that are trained on; confirm it by --seeds"
        )


def _arms(task: TrialTask, repetition: int, request: Request) -> list[TrialTask]:
    recipe = task.recipe
    recipes: dict[Arm, Recipe] = {"distilled": recipe, "control": control_recipe(recipe)}
    if request.release and _why_unreleased(recipe) is None:
        recipes["released"] = released_recipe(recipe)
    fold = Fold(number=repetition, of=request.folds) if request.folds else None
    parts = (task.seed, request.folds, repetition, _CONFIRMING)
    seed = int(np.random.SeedSequence(parts).generate_state(1)[0])
    return [
        task.model_copy(
            update={
                "seed": seed,
                "recipe": own,
                "assistant": None if arm == "control" else task.assistant,
                "fold": fold,
                "confirmation": Confirmation(arm=arm, repetition=repetition),
            }
        )
        for arm, own in recipes.items()
    ]
