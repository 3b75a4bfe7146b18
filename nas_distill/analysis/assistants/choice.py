"""Which student shall teach which others: the choice of teacher assistants.

A student learns less from a teacher that is far larger than itself; a network of intermediate size between them, taught
by the teacher, teaches it better (Mirzadeh et al. 2020, "Improved Knowledge Distillation via Teacher Assistant",
arXiv 1902.03393). Here the search has trained networks of all sizes already, so the assistant is chosen among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import fmean
from typing import Literal

from pydantic import NonNegativeInt

from nas_distill.analysis.formatting import STANDARD_ERRORS, short_count, signed
from nas_distill.errors import RunError
from nas_distill.records.base import Record
from nas_distill.run_directory.files import read_record
from nas_distill.run_directory.layout import RunDirectory

_MUCH_LARGER = 2
"""An assistant is worth its training when a student with a large gap has less than half of its size."""


class AssistantRound(Record):
    """One assistant and the students that it teaches.

    Attributes:
        assistant: Number of the trial whose student teaches.
        students: Numbers of the trials whose students are distilled again, those with the largest gaps first.
        reason: Why, as a sentence.
    """

    assistant: NonNegativeInt
    students: tuple[NonNegativeInt, ...]
    reason: str


class AssistantPlan(Record):
    """`assistants.json` of a run: what was chosen, once and for all.

    Attributes:
        schema_version: Of this record on disk.
        rounds: In order, each assistant smaller than the one before it.
        verdict: Why no (further) assistant was chosen, as a sentence; empty when as many as asked for were.
    """

    schema_version: Literal[1] = 1
    rounds: tuple[AssistantRound, ...] = ()
    verdict: str = ""


def read_plan(run: RunDirectory) -> AssistantPlan:
    """Returns what was chosen in the run so far.

    Raises:
        RunError: The file is damaged.
    """
    if not run.assistants.exists():
        return AssistantPlan()
    try:
        return read_record(run.assistants, AssistantPlan)
    except RunError as error:
        raise RunError(f"{error}; restore it, or remove it: the assistants are then chosen anew") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """What the choice needs to know of a student.

    Attributes:
        number: Of its trial.
        num_params: Its size.
        gap_points: To the original teacher; of several trainings the smallest.
        agreement: With the original teacher on the validation images, 0 to 1, in that training.
    """

    number: int
    num_params: int
    gap_points: float
    agreement: float

    def large_gap_points(self, min_gap_points: float, images: int) -> float:
        """Returns the gap, percentage points, above which this student's is large: asked for, and no chance.

        No chance means more than 1.96 standard errors above none. The two accuracies are taken on the same images, on
        which the two differ in being right at most where their answers differ, so that the variance of an image's
        difference is at most 1 - agreement - gap^2.

        Args:
            min_gap_points: What counts as large, percentage points.
            images: On which gap and agreement were measured.
        """
        gap = self.gap_points / 100.0
        error = sqrt(max(0.0, 1.0 - self.agreement - gap * gap) / images)
        return max(min_gap_points, 100.0 * STANDARD_ERRORS * error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A chosen assistant, or the plain statement that there is none.

    Attributes:
        assistant: Number of its trial; None for none.
        students: Numbers of the trials of those that it shall teach, the largest gap first; empty without one.
        sentence: Why.
    """

    assistant: int | None
    students: tuple[int, ...]
    sentence: str


def choose_assistant(
    students: Iterable[Student],
    candidates: Iterable[Student],
    *,
    parent_params: int,
    min_gap_points: float,
    images: int,
    most: int,
) -> Choice:
    """Returns who shall teach whom.

    A student needs help when its gap is large (`Student.large_gap_points`). A candidate can help it when it is larger,
    and its own gap is smaller. Able are candidates that are smaller than what is above them and can help a student of
    less than half their size. Of those the one is chosen whose size is nearest, as a ratio, to the geometric mean of
    two sizes: of what is above it, and of the students that need help (of their sizes again the geometric mean).

    Args:
        students: Who may be taught: the front, as the search's own trials left it.
        candidates: Who may teach: the front, with what earlier assistants taught.
        parent_params: Parameters of the network above: the teacher, or the assistant before this one.
        min_gap_points: A gap up to this is not large, percentage points.
        images: Validation images.
        most: Students at most, at least 1; those with the largest gaps are taken.
    """
    all_students, all_candidates = list(students), list(candidates)
    in_need = [one for one in all_students if one.gap_points > one.large_gap_points(min_gap_points, images)]
    if not in_need:
        return Choice(assistant=None, students=(), sentence=_not_needed(all_students, min_gap_points, images))
    able = [
        (candidate, helped)
        for candidate in all_candidates
        if candidate.num_params < parent_params and (helped := _helped_by(candidate, in_need))
    ]
    if not able:
        return Choice(assistant=None, students=(), sentence=_not_at_hand(in_need, parent_params))
    target = (log(parent_params) + fmean(log(one.num_params) for one in in_need)) / 2
    chosen, helped = min(
        able, key=lambda pair: (abs(log(pair[0].num_params) - target), pair[0].gap_points, pair[0].number)
    )
    distilled = sorted(helped, key=lambda one: (-one.gap_points, one.num_params, one.number))[:most]
    size, gap = short_count(chosen.num_params), signed(chosen.gap_points)
    return Choice(
        assistant=chosen.number,
        students=tuple(one.number for one in distilled),
        sentence=f"Trial {chosen.number} ({size} parameters, gap {gap} points) is nearest to "
        f"{short_count(exp(target))}, midway between the {short_count(parent_params)} parameters above it and the "
        "students whose gaps are large.",
    )


def _helped_by(candidate: Student, in_need: Sequence[Student]) -> list[Student]:
    """Returns whom a candidate can help; nobody when none of them is much smaller."""
    helped = [one for one in in_need if one.num_params < candidate.num_params and one.gap_points > candidate.gap_points]
    return helped if any(_MUCH_LARGER * one.num_params < candidate.num_params for one in helped) else []


def _worst(students: Sequence[Student]) -> Student:
    return min(students, key=lambda one: (-one.gap_points, one.number))


def _not_needed(students: Sequence[Student], min_gap_points: float, images: int) -> str:
    if not students:
        return "No assistant is needed: there is no student that one could teach."
    worst = _worst(students)
    bound = worst.large_gap_points(min_gap_points, images)
    why = "what was asked for" if bound == min_gap_points else f"what {images} validation images can tell from none"
    return (
        f"No assistant is needed: the largest gap, {signed(worst.gap_points)} points of trial {worst.number}, is "
        f"within {signed(bound)} points, {why}."
    )


def _not_at_hand(in_need: Sequence[Student], parent_params: int) -> str:
    worst = _worst(in_need)
    return (
        f"No assistant is at hand: the gap of trial {worst.number}, {signed(worst.gap_points)} points, is large, but "
        f"no student on the front that can teach is smaller than the {short_count(parent_params)} parameters above it, "
        "more than twice as large as that one, and has a smaller gap."
    )
