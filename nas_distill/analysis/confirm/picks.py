"""The picks chosen again among confirmed students, by rules that reckon with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t

from nas_distill.analysis.confirm.front_odds import FrontOdds
from nas_distill.analysis.confirm.students import ConfirmedStudent
from nas_distill.analysis.formatting import percent, signed
from nas_distill.analysis.front.picks import RuleName
from nas_distill.analysis.stats import CONFIDENCE, Estimate
from nas_distill.objectives import Objective

_ONE_REPETITION = "No student has two repetitions that ended, so there are no intervals to choose by."


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmedPick:
    """One student chosen among the confirmed ones, or the plain statement that a rule chose none.

    Attributes:
        rule: Stable name, the same as of the search's pick.
        title: The rule in a few words.
        sentence: The rule, and why no student satisfies it when `number` is None.
        number: Trial number; None when no student satisfies the rule.
        share: Of the resamples that chose it, for the knee; None otherwise.
    """

    rule: RuleName
    title: str
    sentence: str
    number: int | None
    share: float | None = None


def choose_again(
    students: Sequence[ConfirmedStudent],
    odds: FrontOdds,
    objectives: Sequence[Objective],
    *,
    gap_tolerance_points: float,
) -> tuple[ConfirmedPick, ...]:
    """Returns the three picks under uncertainty, in the order of the search's.

    Students with fewer than two repetitions have no interval and are not chosen. "Cheapest" is by the first cost
    objective, "best" by the first quality objective.

    Args:
        students: All that were confirmed.
        odds: Of the same students.
        objectives: Of the search.
        gap_tolerance_points: Percentage points behind the teacher that are acceptable; may be negative.
    """
    cost = next(objective for objective in objectives if objective.kind == "cost")
    quality = next(objective for objective in objectives if objective.kind == "quality")
    repeated = sorted(
        (student for student in students if student.repetitions >= 2),
        key=lambda student: (_cost(student, cost), student.number),
    )
    return (_smallest_within(repeated, gap_tolerance_points, cost), _knee(odds), _best(repeated, quality, cost))


def _smallest_within(repeated: Sequence[ConfirmedStudent], tolerance: float, cost: Objective) -> ConfirmedPick:
    bound = f"{signed(tolerance)} points"
    over = "folds" if any(student.in_folds for student in repeated) else "seeds"
    sentence = (
        f"The confirmed student with the least {cost.label.lower() if cost.name != 'macs' else cost.label} whose 95 % "
        f"interval of the capacity gap over {over} ends at or below {bound}."
    )
    ends = [(_upper(student.gap_points), student) for student in repeated]
    number = next((student.number for end, student in ends if end <= tolerance), None)
    if not repeated:
        sentence = _ONE_REPETITION
    elif number is None:
        end, closest = min(ends, key=lambda pair: pair[0])
        sentence = (
            f"No confirmed student's 95 % interval of the capacity gap over {over} ends at or below {bound}; the "
            f"closest, trial {closest.number}, has one that ends at {signed(end)} points."
        )
    return ConfirmedPick(
        rule="smallest_within_tolerance", title=f"Within {bound} over {over}", sentence=sentence, number=number
    )


def _knee(odds: FrontOdds) -> ConfirmedPick:
    title = "Knee of most resamples"
    if not odds.numbers or not any(odds.at_knee):
        sentence = _ONE_REPETITION if not odds.numbers else "No confirmed student has all objectives, so there is none."
        return ConfirmedPick(rule="knee", title=title, sentence=sentence, number=None)
    place = max(range(len(odds.numbers)), key=odds.at_knee.__getitem__)
    sentence = (
        "The student that is the knee of the confirmed students' front in more bootstrap resamples of the repetitions "
        f"than any other: in {percent(odds.at_knee[place])} of {odds.resamples}."
    )
    return ConfirmedPick(
        rule="knee", title=title, sentence=sentence, number=odds.numbers[place], share=odds.at_knee[place]
    )


def _best(repeated: Sequence[ConfirmedStudent], quality: Objective, cost: Objective) -> ConfirmedPick:
    title = "Cheapest of the best"
    if not repeated:
        return ConfirmedPick(rule="best_quality", title=title, sentence=_ONE_REPETITION, number=None)
    found = [(student, _quality(student, quality)) for student in repeated]
    means = {student.number: quality.minimised(value.mean) for student, value in found}
    best, value = min(found, key=lambda pair: means[pair[0].number])
    error = standard_error(value, best.repetitions)
    number = next(student.number for student in repeated if means[student.number] <= means[best.number] + error)
    sentence = (
        f"The confirmed student with the least {cost.label.lower() if cost.name != 'macs' else cost.label} whose mean "
        f"{quality.label.lower()} is within one standard error of the best one's, trial {best.number}'s "
        "(Breiman et al. 1984)."
    )
    return ConfirmedPick(rule="best_quality", title=title, sentence=sentence, number=number)


def standard_error(found: Estimate, repetitions: int) -> float:
    """Returns the standard error behind a t interval, or its floor, over `repetitions` values, at least 2."""
    assert found.half_width is not None
    return found.half_width / float(t.ppf(0.5 + CONFIDENCE / 2.0, repetitions - 1))


def _quality(student: ConfirmedStudent, objective: Objective) -> Estimate:
    found: Estimate | None = getattr(student, objective.name)
    assert found is not None
    return found


def _cost(student: ConfirmedStudent, objective: Objective) -> float:
    value: float | None = getattr(student.cost, objective.name)
    return float("inf") if value is None else float(value)


def _upper(found: Estimate | None) -> float:
    assert found is not None
    assert found.half_width is not None
    return found.mean + found.half_width
