"""The headline: which student to take, in one or two sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from nas_distill.analysis.decision.commands import confirm_command
from nas_distill.analysis.decision.evidence import Gap
from nas_distill.analysis.decision.records import Headline, Remedy
from nas_distill.analysis.front.front import ParetoFront
from nas_distill.analysis.front.picks import tolerance_text
from nas_distill.analysis.initial_weights import describe_initial_weights
from nas_distill.records import RANDOM


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The student that the headline is about.

    Attributes:
        number: Trial number; None if the front is empty.
        is_within: Whether its gap is within the tolerance, so that it is the one to take.
        superseded: Trial numbers of cheaper students whose search score is within the tolerance and whose confirmed
            gap, or its interval, is not.
        alternative: Trial number of the cheapest student that was confirmed to be within the tolerance, if that is
            another one; None if there is none.
    """

    number: int | None
    is_within: bool = False
    superseded: tuple[int, ...] = ()
    alternative: int | None = None


def choose(front: ParetoFront, searched: Mapping[int, Gap], gaps: Mapping[int, Gap], tolerance: float) -> Choice:
    """Return the cheapest student of the front whose gap is within the tolerance, else the one with the smallest gap.

    A student that was confirmed counts by its confirmed gap. If the cheapest one was confirmed and its interval crosses
    the tolerance, a student whose confirmed interval lies within the tolerance comes first.

    Args:
        front: Front of the run.
        searched: The search's own gaps by trial number.
        gaps: Gaps to trust, by trial number.
        tolerance: Largest acceptable gap, percentage points.
    """
    if not front.numbers:
        return Choice(number=None)
    within = [number for number in front.numbers if gaps[number].points <= tolerance]
    if not within:
        return Choice(number=min(front.numbers, key=lambda number: gaps[number].points))
    known = [one for one in within if gaps[one].is_confirmed and gaps[one].standing(tolerance) == "established"]
    chosen = known[0] if known and gaps[within[0]].is_confirmed else within[0]
    before = front.numbers[: front.numbers.index(chosen)]
    superseded = [one for one in before if gaps[one].is_confirmed and searched[one].points <= tolerance]
    return Choice(
        number=chosen,
        is_within=True,
        superseded=tuple(superseded),
        alternative=known[0] if known and known[0] != chosen else None,
    )


def write_headline(
    choice: Choice, front: ParetoFront, gaps: Mapping[int, Gap], *, tolerance: float, run: str, remedy: Remedy | None
) -> Headline:
    """Return the headline about a chosen student.

    Args:
        choice: The student.
        front: Front of the run.
        gaps: Gaps to trust, by trial number.
        tolerance: Largest acceptable gap, percentage points.
        run: Run directory.
        remedy: Remedy of that student; the next step if it is not within the tolerance.
    """
    if choice.number is None:
        return Headline(number=None, sentence="No student is fully trained.")
    gap = gaps[choice.number]
    row = front.members.iloc[front.numbers.index(choice.number)]
    student = f"{_size_ratio(row)}, {100.0 * gap.top1:.1f} % top-1, {gap.text()}{_start_clause(row)}"
    if choice.is_within:
        sentences = [f"Take trial {choice.number}: {student}.", *_trust(choice, gaps, tolerance)]
        command = _confirm(choice.number, gap, tolerance, run)
    else:
        lead = f"No student is {tolerance_text(tolerance)} the teacher. The closest is trial {choice.number}"
        trust = "One seed, not confirmed." if not gap.is_confirmed else ""
        next_step = f"Next: {remedy.sentence}." if remedy is not None else ""
        sentences = [f"{lead}: {student}.", trust, next_step]
        command = None if remedy is None else remedy.command
    return Headline(
        number=choice.number if choice.is_within else None,
        sentence=" ".join(filter(None, sentences)),
        command=command,
        closest=None if choice.is_within else choice.number,
        gap_points=gap.points,
        gap_half_width_points=gap.half_width_points,
        standing=gap.standing(tolerance),
        seeds=gap.seeds,
    )


def _trust(choice: Choice, gaps: Mapping[int, Gap], tolerance: float) -> list[str]:
    """Return how far the recommendation can be trusted."""
    assert choice.number is not None
    gap = gaps[choice.number]
    if not gap.is_confirmed:
        found = ["One seed, not confirmed."]
    elif gap.standing(tolerance) == "established":
        found = ["Confirmed."]
    else:
        found = [f"Whether it is {tolerance_text(tolerance)} the teacher is undecided: more seeds are needed."]
    found += [f"Trial {one} is cheaper, but {gaps[one].text('the teacher')}." for one in choice.superseded]
    if choice.alternative is not None:
        found.append(f"The cheapest confirmed student within the tolerance is trial {choice.alternative}.")
    return found


def _confirm(number: int, gap: Gap, tolerance: float, run: str) -> str | None:
    if not gap.is_confirmed:
        return confirm_command(run, [number])
    return None if gap.standing(tolerance) == "established" else confirm_command(run, [number], seeds=2 * gap.seeds)


def _start_clause(row: pd.Series) -> str:
    start = row["initial_weights"]
    return "" if pd.isna(start) or start == RANDOM else f", started from {describe_initial_weights(start)}"


def _size_ratio(row: pd.Series) -> str:
    ratio = 1.0 / float(row["capacity_ratio"])
    smaller = ratio >= 1.0
    factor = ratio if smaller else 1.0 / ratio
    return f"{factor:.{0 if factor >= 9.95 else 1}f}x {'smaller' if smaller else 'larger'} than the teacher"
