"""What a capacity law answers, in numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nas_distill.analysis.formatting import short_bytes, short_count, signed

SizeName = Literal["num_params", "macs", "size_bytes", "latency_ms"]
Subject = Literal["typical", "best"]
Ends = tuple[float, float, float]
"""Value, lower and upper end of its interval."""

_UNITS: dict[SizeName, str] = {"num_params": "parameters", "macs": "MACs", "size_bytes": "bytes", "latency_ms": "ms"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer of a law.

    Attributes:
        value: In `unit`; None when there is none.
        low: Lower end of its interval; None when nothing bounds it.
        high: Upper end; None when nothing bounds it.
        unit: Such as "parameters" or "points".
        reachable: False when the law never comes down to the gap, or only beyond any size worth naming.
        extrapolates: Whether the value rests on sizes that no student had.
        sentence: All of this, for a person.
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
    """What an answer needs to know of a law.

    Attributes:
        size: Column that is the size.
        of: What the law describes.
        level: Of the intervals.
        family: None for all families together.
        smallest: Smallest size seen.
        largest: Largest.
        floor: Percentage points.
        floor_interval: Of that.
        farthest: Times the largest (a part of the smallest) size beyond which no size is named.
    """

    size: SizeName
    of: Subject
    level: float
    family: str | None
    smallest: float
    largest: float
    floor: float
    floor_interval: tuple[float, float]
    farthest: float

    @property
    def subject(self) -> str:
        """Of whom the law speaks."""
        family = "" if self.family is None else f" of {self.family}"
        return f"the typical student{family}" if self.of == "typical" else f"the best tenth of students{family}"

    @property
    def interval(self) -> str:
        """Such as "90 % interval"."""
        return f"{100.0 * self.level:g} % interval"


def size_text(size: SizeName, value: float) -> str:
    """Returns a size with its unit: "12.3k parameters", "97.3 kB", "1.20 ms"."""
    if size == "size_bytes":
        return short_bytes(value)
    if size == "latency_ms":
        return f"{value:.3g} ms"
    return f"{short_count(value)} {_UNITS[size]}"


def size_answer(terms: Terms, gap: float, ends: Ends) -> Answer:
    """Returns the answer to "how large must a student be for a gap of at most so many points"?

    Args:
        terms: Of the law.
        gap: Percentage points.
        ends: Sizes, within the law's clipping of infinity.
    """
    value, low, high = (float(end) for end in ends)  # NumPy's numbers are not JSON
    most, least = terms.largest * terms.farthest, terms.smallest / terms.farthest
    lower, upper = low if least <= low <= most else None, high if least <= high <= most else None
    beyond = False
    if value > most:
        sentence = _no_size(terms, gap, lower, bounded=low <= most)
    elif value < least:
        lower = None
        sentence = (
            f"A gap of at most {signed(gap)} points is what {terms.subject} has at every size seen, "
            f"from {size_text(terms.size, terms.smallest)} on."
        )
    else:
        beyond = not terms.smallest <= value <= terms.largest
        begins = "less than any size worth naming" if lower is None else size_text(terms.size, lower)
        bound = f"from {begins} on, no upper end" if upper is None else f"{begins} to {size_text(terms.size, upper)}"
        sentence = (
            f"For a gap of at most {signed(gap)} points {terms.subject} needs {size_text(terms.size, value)} "
            f"({terms.interval}: {bound}).{_beyond(terms, value) if beyond else ''}"
        )
    reachable = bool(value <= most)
    return Answer(
        value=(terms.smallest if value < least else value) if reachable else None,
        low=lower,
        high=upper,
        unit=_UNITS[terms.size],
        reachable=reachable,
        extrapolates=beyond,
        sentence=sentence,
    )


def gain_answer(terms: Terms, size: float, factor: float, ends: Ends) -> Answer:
    """Returns the answer to "what would `factor` times the size buy"?

    Args:
        terms: Of the law.
        size: From which.
        factor: Positive.
        ends: Points by which the law is lower there.
    """
    value, low, high = ends
    other = size * factor
    far = other if not terms.smallest <= other <= terms.largest else size
    beyond = not terms.smallest <= far <= terms.largest
    change = "smaller" if value >= 0.0 else "larger"
    sentence = (
        f"From {size_text(terms.size, size)} to {factor:g} times that the gap of {terms.subject} gets "
        f"{abs(value):.2f} points {change} ({terms.interval} of what is gained: {signed(low)} to {signed(high)})."
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
        reason = f"{terms.subject} would need over {terms.farthest:g} times the largest student seen"
    at_best = ""
    if bounded:
        least = "less than any size worth naming" if lower is None else size_text(terms.size, lower)
        at_best = f"; at the favourable end of the interval it takes {least}"
    return f"A gap of at most {signed(gap)} points is not reachable by this law: {reason}{at_best}."


def _beyond(terms: Terms, size: float) -> str:
    side = "above the largest" if size > terms.largest else "below the smallest"
    end = terms.largest if size > terms.largest else terms.smallest
    return f" This extrapolates: {size_text(terms.size, size)} lies {side} student seen ({size_text(terms.size, end)})."
