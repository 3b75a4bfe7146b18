"""Plans the trainings that confirm picked students. No Ray."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas_distill.analysis.front.front import ParetoFront
from nas_distill.analysis.run import Run
from nas_distill.config import PicksConfig
from nas_distill.errors import ConfigError, NoStudentError, nearest_names
from nas_distill.losses.registry import resolve_losses
from nas_distill.records import RANDOM, Arm, Confirmation, Fold, Recipe, StudentSpec, TrialStatus
from nas_distill.records.recipe import Adaptation
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.layout import RunDirectory

FRONT = "front"
"""Name of the pick that stands for every student on the front."""

_CONFIRMING = 1
"""Last number in the derivation of seeds, so that no seed equals one of the search, its folds or its epochs. It is not
0 because NumPy derives the same seed from sequences that differ only by zeros at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Which students are confirmed, and how.

    Attributes:
        picks: Names of pick rules, numbers of trials, or `FRONT`; empty for the three picks of the report.
        seeds: Number of repetitions, at least 1. Each has its own seed and is scored on the test split. Ignored when
            there are folds.
        folds: Number of parts of the training split, at least 2: a student is scored on each part after training on the
            others. 0 for none.
        release: Whether a third arm is trained, with per-class release.
    """

    picks: tuple[str, ...] = ()
    seeds: int = 5
    folds: int = 0
    release: bool = False

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ConfigError(
                f"{self.seeds} repetitions confirm nothing; set at least 1, such as 5",
                code="confirm.no_seeds",
                field="--seeds",
            )
        if self.folds == 1 or self.folds < 0:
            raise ConfigError(
                f"the training split cannot be divided into {self.folds} parts; set at least 2, such as 5",
                code="confirm.bad_fold_count",
                field="--folds",
            )


def choose_students(run: Run, picks: PicksConfig, names: Sequence[str]) -> tuple[int, ...]:
    """Return the trial numbers of the students that `names` stands for, each once, in that order.

    Args:
        run: The run of the search.
        picks: How students are picked.
        names: See `Request.picks`.

    Raises:
        NoStudentError: No student was fully trained.
        ConfigError: A name is unknown, or a trial has no fully trained student.
    """
    front, trials = run.front(), run.study.trials
    if not len(front.members):
        raise NoStudentError(
            "no student was fully trained, so there is none to confirm; extend the search first",
            code="confirm.no_student",
        )
    found = run.picks_within(picks.gap_tolerance_points)
    rules: dict[str, int | None] = {pick.rule: pick.number for pick in found}
    trained = trials[trials["status"] == TrialStatus.COMPLETE]["number"]
    known = {int(number) for number in trained}
    chosen: list[int] = []
    for name in names or tuple(rules):
        chosen += _named(name.strip(), rules, front, known)
    return tuple(dict.fromkeys(chosen))


def plan_confirmation(
    run: RunDirectory, picks: PicksConfig, assigned: Iterable[TrialTask], request: Request
) -> tuple[TrialTask, ...]:
    """Return one task per student, repetition and arm, finished ones included.

    The arms of a repetition share their seed, which is derived from the trial's seed and the repetition.

    Args:
        run: The run directory, from whose study students are chosen.
        picks: How students are picked.
        assigned: Tasks of all trials that were ever scheduled.
        request: Which students are confirmed, and how.

    Raises:
        NoStudentError: No student was fully trained.
        ConfigError: A pick is unknown, or a recipe mixes images, which would leak those of the fold into training.
        StudyError: The study cannot be read.
    """
    by_number = {task.number: task for task in assigned}
    numbers = choose_students(Run(run.path), picks, request.picks)
    for number in numbers:
        _check_mix(by_number[number], request)
    return tuple(
        one
        for number in numbers
        for repetition in range(request.folds or request.seeds)
        for one in _arms(by_number[number], repetition, request)
    )


def control_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe without the teacher: no distillation losses, no adaptation, and a label weight of at least 1.

    During training, labels gain the weight that adaptation takes from the teacher's losses (`Adaptation`). Here the
    teacher's losses have none from the start.
    """
    return recipe.model_copy(
        update={"losses": {}, "label_weight": max(1.0, recipe.label_weight), "adaptive": Adaptation()}
    )


def released_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe with per-class release switched on; its other settings stay."""
    return recipe.model_copy(update={"adaptive": recipe.adaptive.model_copy(update={"release": True})})


def unreleased(planned: Iterable[TrialTask]) -> tuple[str, ...]:
    """Return a line for each student without an arm with per-class release, with the reason."""
    recipes = {one.number: one.recipe for one in planned if one.confirmation and one.confirmation.arm == "distilled"}
    reasons = ((number, _why_unreleased(recipe)) for number, recipe in recipes.items())
    return tuple(f"trial {number} has no arm with release: {reason}" for number, reason in reasons if reason)


def _why_unreleased(recipe: Recipe) -> str | None:
    """Return why a recipe has no arm with per-class release; None where it has one."""
    if not resolve_losses(recipe):
        return "it is trained without the teacher"
    if recipe.adaptive.release:
        return "its own recipe releases classes"
    try:
        resolve_losses(released_recipe(recipe))
    except ConfigError as error:
        return str(error)
    return None


def _named(name: str, rules: Mapping[str, int | None], front: ParetoFront, known: set[int]) -> list[int]:
    if name == FRONT:
        return list(front.numbers)
    if name in rules:
        number = rules[name]
        return [] if number is None else [number]
    if not (name.isascii() and name.isdigit()):
        raise ConfigError(
            f"'{name}' is no pick; {nearest_names(name, [*rules, FRONT])}; trial numbers are allowed too",
            code="confirm.unknown_pick",
            field="--picks",
        )
    if int(name) not in known:
        raise ConfigError(
            f"trial {int(name)} has no fully trained student; {len(known)} trials have one, among them "
            f"{', '.join(map(str, front.numbers[:10]))} on the front",
            code="confirm.trial_not_trained",
            field="--picks",
        )
    return [int(name)]


def _check_mix(task: TrialTask, request: Request) -> None:
    mix = task.recipe.mix
    if request.folds and mix != "none":
        raise ConfigError(
            f"the recipe of trial {task.number} uses {mix}, which mixes images of the left-out fold into the training "
            "images; use --seeds instead",
            code="confirm.folds_with_mixing",
            field="--folds",
        )


def _arms(task: TrialTask, repetition: int, request: Request) -> list[TrialTask]:
    recipe, spec = task.recipe, task.spec
    arms: dict[Arm, tuple[Recipe, StudentSpec]] = {
        "distilled": (recipe, spec),
        "control": (control_recipe(recipe), spec),
    }
    if request.release and _why_unreleased(recipe) is None:
        arms["released"] = released_recipe(recipe), spec
    if not spec.starts_from_random:
        arms["random_weights"] = recipe, spec.model_copy(update={"initial_weights": RANDOM})
    fold = Fold(number=repetition, of=request.folds) if request.folds else None
    parts = (task.seed, request.folds, repetition, _CONFIRMING)
    seed = int(np.random.SeedSequence(parts).generate_state(1)[0])
    return [
        task.model_copy(
            update={
                "seed": seed,
                "recipe": own_recipe,
                "spec": own_spec,
                "assistant": None if arm == "control" else task.assistant,
                "fold": fold,
                "confirmation": Confirmation(arm=arm, repetition=repetition),
            }
        )
        for arm, (own_recipe, own_spec) in arms.items()
    ]
