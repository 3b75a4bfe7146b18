"""Phrase the answers of a capacity law."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nas_distill.analysis.formatting import SIZE_UNITS, signed, size_text

SizeName = Literal["num_params", "macs", "size_bytes", "latency_ms"]
Subject = Literal["typical", "best"]
Ends = tuple[float, float, float]
"""A value, and the lower and upper end of its interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer of a law.

    Attributes:
        value: The answer, in `unit`; None if there is none.
        low: Lower end of its interval; None if the interval has no lower bound.
        high: Upper end of its interval; None if the interval has no upper bound.
        unit: Unit, such as "parameters" or "points".
        reachable: False if the law never falls to the gap, or only at a size far beyond all students.
        extrapolates: Whether the answer is about sizes outside those of the students.
        sentence: The answer as a sentence.
    """

    value: float | None
    low: float | None
    high: float | None
    unit: str
    reachable: bool
    extrapolates: bool
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The properties of a law that its answers mention.

    Attributes:
        size: Column that is the size.
        of: Which students the law describes.
        level: Confidence level of the intervals, 0 to 1.
        family: Family of the curve; None for all families together.
        smallest: Smallest size of a student.
        largest: Largest size of a student.
        floor: Floor of the curve, percentage points.
        floor_interval: Interval of the floor.
        max_ratio: Answers above `largest` times this ratio, or below `smallest` divided by it, are not given.
    """

    size: SizeName
    of: Subject
    level: float
    family: str | None
    smallest: float
    largest: float
    floor: float
    floor_interval: tuple[float, float]
    max_ratio: float

    @property
    def subject(self) -> str:
        """The students that the law describes, such as "the typical student of vit"."""
        family = "" if self.family is None else f" of {self.family}"
        return f"the typical student{family}" if self.of == "typical" else f"the best tenth of students{family}"

    @property
    def interval(self) -> str:
        """Name of the interval, such as "90 % interval"."""
        return f"{100.0 * self.level:g} % interval"


def size_answer(terms: Terms, gap: float, ends: Ends) -> Answer:
    """Return the answer to "how large must a student be to have a gap of at most `gap` points?".

    Args:
        terms: Properties of the law.
        gap: Gap, percentage points.
        ends: Size at which the law falls to the gap, and its interval; infinite sizes are clipped to finite ones.
    """
    value, low, high = (float(end) for end in ends)  # NumPy's numbers are not JSON
    most, least = terms.largest * terms.max_ratio, terms.smallest / terms.max_ratio
    lower, upper = low if least <= low <= most else None, high if least <= high <= most else None
    beyond = False
    if value > most:
        sentence = _no_size(terms, gap, lower, bounded=low <= most)
    elif value < least:
        lower = None
        sentence = (
            f"{_capitalised(terms.subject)} has a gap of at most {signed(gap)} points at all sizes of this run, from "
            f"{size_text(terms.size, terms.smallest)}."
        )
    else:
        beyond = not terms.smallest <= value <= terms.largest
        begins = _lower_end(terms, lower)
        bound = f"{begins}, no upper end" if upper is None else f"{begins} to {size_text(terms.size, upper)}"
        sentence = (
            f"For a gap of at most {signed(gap)} points {terms.subject} needs {size_text(terms.size, value)} "
            f"({terms.interval}: {bound}).{_beyond(terms, value) if beyond else ''}"
        )
    reachable = bool(value <= most)
    return Answer(
        value=(terms.smallest if value < least else value) if reachable else None,
        low=lower,
        high=upper,
        unit=SIZE_UNITS[terms.size],
        reachable=reachable,
        extrapolates=beyond,
        sentence=sentence,
    )


def gain_answer(terms: Terms, size: float, factor: float, ends: Ends) -> Answer:
    """Return the answer to "how much smaller is the gap at `factor` times the size?".

    Args:
        terms: Properties of the law.
        size: Size to start from.
        factor: Ratio of the other size to `size`, positive.
        ends: Points by which the law is lower at the other size, and the interval of that.
    """
    value, low, high = ends
    other = size * factor
    far = other if not terms.smallest <= other <= terms.largest else size
    beyond = not terms.smallest <= far <= terms.largest
    change = "smaller" if value >= 0.0 else "larger"
    sentence = (
        f"At {factor:g} times {size_text(terms.size, size)}, the gap of {terms.subject} is {abs(value):.2f} points "
        f"{change} ({terms.interval} of the gain: {signed(low)} to {signed(high)})."
        f"{_beyond(terms, far) if beyond else ''}"
    )
    return Answer(
        value=value, low=low, high=high, unit="points", reachable=True, extrapolates=beyond, sentence=sentence
    )


def _no_size(terms: Terms, gap: float, lower: float | None, *, bounded: bool) -> str:
    if terms.floor >= gap:
        ends = " to ".join(map(signed, terms.floor_interval))
        reason = f"the floor of {terms.subject} is {signed(terms.floor)} points ({terms.interval}: {ends})"
    else:
        reason = f"{terms.subject} would need more than {terms.max_ratio:g} times the largest size of this run"
    at_best = f"; the favourable end of the interval is {_lower_end(terms, lower)}" if bounded else ""
    return f"By this law a gap of at most {signed(gap)} points is not reachable: {reason}{at_best}."


def _lower_end(terms: Terms, lower: float | None) -> str:
    if lower is None:
        return f"less than 1/{terms.max_ratio:g} of the smallest size"
    return size_text(terms.size, lower)


def _capitalised(text: str) -> str:
    return text[0].upper() + text[1:]


def _beyond(terms: Terms, size: float) -> str:
    side = "above the largest" if size > terms.largest else "below the smallest"
    end = terms.largest if size > terms.largest else terms.smallest
    return f" This is an extrapolation: {size_text(terms.size, size)} is {side} student ({size_text(terms.size, end)})."
