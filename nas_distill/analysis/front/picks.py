"""Recommend students from the front, one per rule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NoReturn, overload

import numpy as np
import pandas as pd
from pydantic import NonNegativeFloat, NonNegativeInt

from nas_distill.analysis.formatting import quantity, signed
from nas_distill.analysis.front.arithmetic import knee_index
from nas_distill.analysis.front.front import ParetoFront
from nas_distill.analysis.initial_weights import describe_initial_weights
from nas_distill.analysis.stats import gap_half_width_points
from nas_distill.errors import ConfigError, NoStudentError, nearest_names
from nas_distill.objectives import Objective
from nas_distill.records import RANDOM
from nas_distill.records.base import FrozenFloats, Record

RuleName = Literal["smallest_within_tolerance", "knee", "best_quality"]

_SUPERLATIVES = {
    "num_params": "smallest",
    "size_bytes": "smallest",
    "size_int8_bytes": "smallest",
    "macs": "cheapest",
    "latency_ms": "fastest",
    "throughput_per_s": "fastest",
}
_QUALITIES = {
    "gap_points": "accuracy",
    "int8_gap_points": "accuracy in int8",
    "divergence_nats": "fidelity",
    "nll_nats": "likelihood",
}
_BEST = {
    "gap_points": "Smallest gap",
    "int8_gap_points": "Smallest gap in int8",
    "divergence_nats": "Smallest divergence",
    "nll_nats": "Smallest negative log-likelihood",
    "agreement": "Highest agreement",
}


class Pick(Record):
    """A student chosen from the front, or the reason why a rule chose none.

    Attributes:
        rule: Stable name of the rule.
        title: The rule in a few words.
        sentence: The rule; if `number` is None, the reason why no student satisfies it.
        number: Trial number; None if no student satisfies the rule.
        values: The student's objectives by name, in their own units; empty without a student.
        gap_points: The student's gap on the validation images, percentage points; None without a student.
        gap_half_width_points: Half of the gap's 95 % interval due to the sample of images, percentage points.
        initial_weights: Weights that the student started from (`StudentSpec.initial_weights`); None without a student.
    """

    rule: RuleName
    title: str
    sentence: str
    number: NonNegativeInt | None
    values: FrozenFloats
    gap_points: float | None = None
    gap_half_width_points: NonNegativeFloat | None = None
    initial_weights: str | None = None


class Picks(Sequence[Pick]):
    """The picks of a front, by position or by the name of their rule: `picks[0]`, `picks["knee"]`.

    Args:
        picks: One pick per rule.
    """

    def __init__(self, picks: Iterable[Pick]) -> None:
        self._picks = tuple(picks)

    def __len__(self) -> int:
        return len(self._picks)

    @overload
    def __getitem__(self, key: int | str) -> Pick: ...
    @overload
    def __getitem__(self, key: slice) -> Picks: ...
    def __getitem__(self, key: int | str | slice) -> Pick | Picks:
        if isinstance(key, slice):
            return Picks(self._picks[key])
        if not isinstance(key, str):
            return self._picks[key]
        by_rule = {str(pick.rule): pick for pick in self._picks}
        if key not in by_rule:
            raise ConfigError(
                f"no rule is called '{key}'; {nearest_names(key, by_rule)}", code="analysis.unknown_pick", field="picks"
            )
        return by_rule[key]

    def __call__(self, *_: object, **__: object) -> NoReturn:
        """Point to the right syntax: `run.picks("knee")` is an easy mistake."""
        raise TypeError("picks is not a function; write run.picks['knee'], or run.picks_within(gap_tolerance_points)")

    def __repr__(self) -> str:
        chosen = ", ".join(f"{pick.rule}={'none' if pick.number is None else pick.number}" for pick in self._picks)
        return f"Picks({chosen})"


def pick_students(front: ParetoFront, *, gap_tolerance_points: float, images: int) -> tuple[Pick, ...]:
    """Return the three picks: smallest within the tolerance, knee, best quality.

    Two rules may choose the same student. "Smallest" refers to the front's first cost objective, "best" to its first
    quality objective. The tolerance applies to the capacity gap, which is always measured. Use `analysis.run.Run.picks`
    for the picks of a run, and its decision to act on them.

    Args:
        front: Front to choose from. If it is empty, no rule chooses a student.
        gap_tolerance_points: Largest acceptable gap to the teacher, percentage points; may be negative.
        images: Number of validation images.
    """
    found = (_smallest_within(front, gap_tolerance_points), _knee(front), _best(front))
    return tuple(_measured(pick, front, images) for pick in found)


def tolerance_text(points: float) -> str:
    """Return a tolerance as a condition: "at most 1 point below", "at least 0.5 points above"."""
    bound = _bound(points)
    return f"at most {bound} below" if points >= 0 else f"at least {bound} above"


def _bound(points: float) -> str:
    return f"{abs(points):g} point{'' if abs(points) == 1.0 else 's'}"


def _measured(pick: Pick, front: ParetoFront, images: int) -> Pick:
    """Return the pick with the student's gap and its interval."""
    if pick.number is None:
        return pick
    student = front.members[front.members["number"] == pick.number]
    gap, agreement = (student[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in ("gap_points", "agreement"))
    half = gap_half_width_points(gap, agreement, images)
    return pick.model_copy(update={"gap_points": float(gap[0]), "gap_half_width_points": float(half[0])})


def _smallest_within(front: ParetoFront, tolerance: float) -> Pick:
    superlative = _SUPERLATIVES.get(front.cost.name, "cheapest")
    title = f"{superlative.capitalize()} {'within' if tolerance >= 0 else 'ahead by'} {_bound(tolerance)}"
    limit = tolerance_text(tolerance)
    sentence = f"The {superlative} student {limit} the teacher."
    gaps = front.members["gap_points"]
    within = front.members.index[gaps <= tolerance]
    if len(front.members) and not len(within):
        closest = int(gaps.to_numpy(dtype=float).argmin())
        sentence = (
            f"No student is {limit} the teacher. The closest is trial {front.numbers[closest]} with "
            f"{signed(float(gaps.iloc[closest]))} points."
        )
    # Members are sorted by cost, so the first one is the cheapest.
    index = int(within[0]) if len(within) else None
    return _pick(front, index, rule="smallest_within_tolerance", title=title, sentence=sentence)


def _knee(front: ParetoFront) -> Pick:
    by_size = _SUPERLATIVES.get(front.cost.name) == "smallest"
    smaller, larger = ("Smaller", "larger") if by_size else ("Cheaper", "more expensive")
    quality = _QUALITIES.get(front.quality.name, front.quality.label.lower())
    sentence = f"{smaller} costs {quality} fast, {larger} buys little."
    if 0 < len(front.members) < 3:
        number = "two students" if len(front.members) == 2 else "one student"
        sentence = f"The front has only {number}, so this is the one with the best {_axis(front.objectives[0])}."
    index = knee_index(front.values) if len(front.members) else None
    return _pick(front, index, rule="knee", title="Best trade-off", sentence=sentence)


def _best(front: ParetoFront) -> Pick:
    objective = front.quality
    title = _BEST.get(objective.name, f"Best {objective.label.lower()}")
    column = list(front.objectives).index(objective)
    # Members are sorted by cost, so the first of equals is the cheapest.
    index = int(front.values[:, column].argmin()) if len(front.members) else None
    sentence = f"The student with the {title[0].lower()}{title[1:]}, at any cost."
    if objective.name == "gap_points":
        sentence = "The most accurate student, at any cost."
    return _pick(front, index, rule="best_quality", title=title, sentence=sentence)


def _pick(front: ParetoFront, index: int | None, *, rule: RuleName, title: str, sentence: str) -> Pick:
    if index is None:
        if not len(front.members):
            sentence = "No student is fully trained."
        return Pick(rule=rule, title=title, sentence=sentence, number=None, values={})
    values = {objective.name: float(front.members[objective.name].iloc[index]) for objective in front.objectives}
    start = front.members["initial_weights"].iloc[index]
    return Pick(
        rule=rule,
        title=title,
        sentence=sentence,
        number=front.numbers[index],
        values=values,
        initial_weights=None if pd.isna(start) else str(start),
    )


def _axis(objective: Objective) -> str:
    return objective.label if objective.name == "macs" else objective.label.lower()


def trial_of(name: str | int, picks: Picks) -> int:
    """Return the number of the trial that a user names.

    Args:
        name: Trial number, name of a rule, or the beginning of one, such as "smallest".
        picks: Picks of the run.

    Raises:
        ConfigError: The name is neither a number nor a rule.
        NoStudentError: The rule chooses no student.
    """
    text = str(name).strip()
    if text.isascii() and text.isdigit():
        return int(text)
    found = [pick for pick in picks if text and pick.rule.startswith(text)]
    if len(found) != 1:
        raise ConfigError(
            f"'{text}' is no pick; {nearest_names(text, [pick.rule for pick in picks])}; or give a trial number",
            code="analysis.unknown_pick",
            field="pick",
        )
    number = found[0].number
    if number is None:
        raise NoStudentError(
            f"{found[0].sentence} Choose another pick, or a trial number",
            code="analysis.pick_without_student",
            field="pick",
        )
    return number


def describe(pick: Pick, front: ParetoFront) -> str:
    """Return the student of a pick in one line, such as "trial 7 (+0.83 points, 24.3k parameters)"."""
    if pick.number is None:
        return "none"
    parts = [quantity(objective, pick.values[objective.name]) for objective in front.objectives]
    if pick.initial_weights not in (None, RANDOM):
        parts.append(f"started from {describe_initial_weights(pick.initial_weights)}")
    return f"trial {pick.number} ({', '.join(parts)})"
