"""Choose the picks again among confirmed students, by rules that take their intervals into account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nas_distill.analysis.confirm.front_odds import FrontOdds
from nas_distill.analysis.confirm.students import ConfirmedStudent
from nas_distill.analysis.formatting import percent, signed
from nas_distill.analysis.front.picks import RuleName
from nas_distill.analysis.stats import Estimate, standard_error
from nas_distill.objectives import Objective

_ONE_REPETITION = "No student has two finished repetitions, so there are no intervals to compare."


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmedPick:
    """A student chosen among the confirmed ones, or the reason why a rule chose none.

    Attributes:
        rule: Stable name of the rule, the same as that of the search's pick.
        title: The rule in a few words.
        sentence: The rule; if `number` is None, the reason why no student satisfies it.
        number: Trial number; None if no student satisfies the rule.
        share: For the knee, the share of the resamples that chose it, 0 to 1; None for the other rules.
    """

    rule: RuleName
    title: str
    sentence: str
    number: int | None
    share: float | None = None


def confirmed_picks(
    students: Sequence[ConfirmedStudent],
    odds: FrontOdds,
    objectives: Sequence[Objective],
    *,
    gap_tolerance_points: float,
) -> tuple[ConfirmedPick, ...]:
    """Return the three picks under uncertainty, in the order of the search's picks.

    Students with fewer than two repetitions have no interval and are not chosen. "Cheapest" refers to the first cost
    objective, "best" to the first quality objective.

    Args:
        students: All confirmed students.
        odds: Front odds of the same students.
        objectives: Objectives of the search.
        gap_tolerance_points: Largest acceptable gap to the teacher, percentage points; may be negative.
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
        f"The confirmed student with the fewest {cost.unit} whose 95 % interval of the gap over {over} ends at or "
        f"below {bound}."
    )
    ends = [(_upper(student.gap_points), student) for student in repeated]
    number = next((student.number for end, student in ends if end <= tolerance), None)
    if not repeated:
        sentence = _ONE_REPETITION
    elif number is None:
        end, closest = min(ends, key=lambda pair: pair[0])
        sentence = (
            f"No confirmed student's 95 % interval of the gap over {over} ends at or below {bound}; the interval of "
            f"the closest, trial {closest.number}, ends at {signed(end)} points."
        )
    return ConfirmedPick(
        rule="smallest_within_tolerance", title=f"Within {bound} over {over}", sentence=sentence, number=number
    )


def _knee(odds: FrontOdds) -> ConfirmedPick:
    title = "Most frequent knee"
    if not odds.numbers or not any(odds.at_knee):
        sentence = _ONE_REPETITION if not odds.numbers else "No confirmed student has values of all objectives."
        return ConfirmedPick(rule="knee", title=title, sentence=sentence, number=None)
    index = max(range(len(odds.numbers)), key=odds.at_knee.__getitem__)
    sentence = (
        "The student that is most often the knee of the confirmed students' front over bootstrap resamples of the "
        f"repetitions: in {percent(odds.at_knee[index])} of {odds.resamples}."
    )
    return ConfirmedPick(
        rule="knee", title=title, sentence=sentence, number=odds.numbers[index], share=odds.at_knee[index]
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
        f"The confirmed student with the fewest {cost.unit} whose mean {quality.label.lower()} is within one "
        f"standard error of the best, trial {best.number} (one-standard-error rule, Breiman et al. 1984)."
    )
    return ConfirmedPick(rule="best_quality", title=title, sentence=sentence, number=number)


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
