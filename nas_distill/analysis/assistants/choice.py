"""Choose teacher assistants: which student teaches which others.

A student learns less from a teacher that is much larger than itself. A network of intermediate size, distilled from the
teacher, teaches it better (Mirzadeh et al. 2020, "Improved Knowledge Distillation via Teacher Assistant",
arXiv 1902.03393). The search has already trained networks of all sizes, so the assistant is chosen among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import fmean
from typing import Literal

from pydantic import NonNegativeInt

from nas_distill.analysis.formatting import short_count, signed
from nas_distill.analysis.stats import paired_difference_half_width
from nas_distill.errors import RunError
from nas_distill.records.base import Record
from nas_distill.run_directory.files import read_record
from nas_distill.run_directory.layout import RunDirectory

_MUCH_LARGER = 2
"""Minimum size of an assistant, as a multiple of the smallest student that needs help."""


class AssistantRound(Record):
    """One assistant and the students that it teaches.

    Attributes:
        assistant: Trial number of the student that teaches.
        students: Trial numbers of the students that are distilled again, largest gap first.
        reason: Why this assistant was chosen, as a sentence.
    """

    assistant: NonNegativeInt
    students: tuple[NonNegativeInt, ...]
    reason: str


class AssistantPlan(Record):
    """The assistants of a run, as kept in its `assistants.json`.

    Attributes:
        schema_version: Version of this record on disk.
        rounds: Rounds in order; each assistant is smaller than the one before it.
        stop_reason: Why no further assistant was chosen, as a sentence; empty if as many as requested were chosen.
    """

    schema_version: Literal[1] = 1
    rounds: tuple[AssistantRound, ...] = ()
    stop_reason: str = ""


def read_plan(run: RunDirectory) -> AssistantPlan:
    """Return the assistants that were chosen in the run so far.

    Raises:
        RunError: The file is damaged.
    """
    if not run.assistants.exists():
        return AssistantPlan()
    try:
        return read_record(run.assistants, AssistantPlan)
    except RunError as error:
        raise RunError(
            f"{error.args[0]}; restore the file, or remove it to choose the assistants again",
            code=error.code,
            field=error.field,
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """The properties of a student that decide the choice.

    Attributes:
        number: Trial number.
        num_params: Number of parameters.
        gap_points: Gap to the original teacher, percentage points; the smallest if it was trained several times.
        agreement: Agreement with the original teacher on validation images in that training, 0 to 1.
    """

    number: int
    num_params: int
    gap_points: float
    agreement: float

    def large_gap_points(self, min_gap_points: float, images: int) -> float:
        """Return the gap above which this student's gap counts as large, in percentage points.

        That is the larger of `min_gap_points` and half the interval of the gap due to the sample of images (see
        `stats.paired_difference_half_width`: both accuracies are measured on the same images).

        Args:
            min_gap_points: Requested threshold, percentage points.
            images: Number of images on which gap and agreement were measured.
        """
        resolvable = paired_difference_half_width(self.gap_points / 100.0, 1.0 - self.agreement, images)
        return max(min_gap_points, 100.0 * resolvable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A chosen assistant, or the reason why there is none.

    Attributes:
        outcome: Whether an assistant was chosen, none is needed, or no candidate qualifies.
        assistant: Trial number of the assistant; None if none was chosen.
        students: Trial numbers of the students to teach, largest gap first; empty without an assistant.
        sentence: Reason for the choice.
    """

    outcome: Literal["chosen", "not_needed", "none_qualifies"]
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
    max_students: int,
) -> Choice:
    """Choose an assistant and the students that it teaches.

    A student needs help if its gap is large (`Student.large_gap_points`). A candidate can help a student if it is
    larger and has a smaller gap. A candidate qualifies if it is smaller than its parent, the network that taught it,
    and can help a student of less than half its size. Among those that qualify, the chosen one is nearest in size, as
    a ratio, to the geometric mean of two sizes: that of the parent, and the geometric mean of the students that need
    help.

    Args:
        students: Students that may be taught: the front of the search's own trials.
        candidates: Students that may teach: the front, including students of earlier assistants.
        parent_params: Parameters of the parent: the teacher, or the previous assistant.
        min_gap_points: Largest gap that does not count as large, percentage points.
        images: Number of validation images.
        max_students: Most students to teach, at least 1; those with the largest gaps are taken.
    """
    all_students, all_candidates = list(students), list(candidates)
    in_need = [one for one in all_students if one.gap_points > one.large_gap_points(min_gap_points, images)]
    if not in_need:
        return Choice(
            outcome="not_needed", assistant=None, students=(),
            sentence=_not_needed(all_students, min_gap_points, images),
        )  # fmt: skip
    qualified = [
        (candidate, helped)
        for candidate in all_candidates
        if candidate.num_params < parent_params and (helped := _helped_by(candidate, in_need))
    ]
    if not qualified:
        return Choice(
            outcome="none_qualifies", assistant=None, students=(), sentence=_none_qualifies(in_need, parent_params)
        )
    target = (log(parent_params) + fmean(log(one.num_params) for one in in_need)) / 2
    chosen, helped = min(
        qualified, key=lambda pair: (abs(log(pair[0].num_params) - target), pair[0].gap_points, pair[0].number)
    )
    taught = sorted(helped, key=lambda one: (-one.gap_points, one.num_params, one.number))[:max_students]
    size, gap = short_count(chosen.num_params), signed(chosen.gap_points)
    return Choice(
        outcome="chosen",
        assistant=chosen.number,
        students=tuple(one.number for one in taught),
        sentence=f"Trial {chosen.number} teaches: with {size} parameters (gap {gap} points) it is nearest to the "
        f"target of {short_count(exp(target))}, the geometric mean of its teacher's {short_count(parent_params)} and "
        "of the students with large gaps.",
    )


def _helped_by(candidate: Student, in_need: Sequence[Student]) -> list[Student]:
    """Return the students that a candidate can help; none if none of them is much smaller."""
    helped = [one for one in in_need if one.num_params < candidate.num_params and one.gap_points > candidate.gap_points]
    return helped if any(_MUCH_LARGER * one.num_params < candidate.num_params for one in helped) else []


def _worst(students: Sequence[Student]) -> Student:
    return min(students, key=lambda one: (-one.gap_points, one.number))


def _not_needed(students: Sequence[Student], min_gap_points: float, images: int) -> str:
    if not students:
        return "No assistant is needed: no student could be taught by one."
    worst = _worst(students)
    bound = worst.large_gap_points(min_gap_points, images)
    why = "the threshold" if bound == min_gap_points else f"the smallest gap that {images} validation images resolve"
    return (
        f"No assistant is needed: the largest gap is {signed(worst.gap_points)} points (trial {worst.number}), which "
        f"does not exceed {signed(bound)} points, {why}."
    )


def _none_qualifies(in_need: Sequence[Student], parent_params: int) -> str:
    worst = _worst(in_need)
    return (
        f"No assistant is available: the gap of trial {worst.number} is large ({signed(worst.gap_points)} points), but "
        f"no student on the front has fewer than {short_count(parent_params)} parameters, more than twice as many as "
        "that one, and a smaller gap."
    )
