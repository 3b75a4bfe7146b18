"""Numbers as people read them: always with their unit, gaps with their sign."""

from __future__ import annotations

import math

from nas_distill.objectives import Objective

STANDARD_ERRORS = 1.96
"""To either side, that hold 95 % of a normal distribution."""

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_PRECISION = {"points": 2, "nats": 3}


def _three_digits(value: float) -> str:
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def short_count(value: float) -> str:
    """Returns a count of at least 0 in three digits: "950", "9.57k", "1.24M"."""
    for size, prefix in _PREFIXES:
        # 999.6k would round to 1000k.
        if value >= size * 0.9995:
            return f"{_three_digits(value / size)}{prefix}"
    return f"{value:.0f}"


def short_bytes(value: float) -> str:
    """Returns bytes in three digits with a decimal prefix: "950 B", "97.3 kB"."""
    text = short_count(value)
    return f"{text[:-1]} {text[-1]}B" if text[-1].isalpha() else f"{text} B"


def signed(value: float, digits: int = 2) -> str:
    """Returns a number with its sign, a true minus sign, and none at zero: "+0.83", "0.00"."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0.0:
        return text
    return f"{MINUS if value < 0 else '+'}{text}"


def number_text(objective: Objective, value: float) -> str:
    """Returns a value of an objective without its unit; `MISSING` for NaN."""
    if math.isnan(value):
        return MISSING
    if objective.name == "size_bytes":
        return short_bytes(value)
    if objective.scale == "log10":
        return short_count(value)
    if not objective.unit:
        return percent(value)
    digits = _PRECISION[objective.unit]
    return signed(value, digits) if objective.unit == "points" else f"{value:.{digits}f}"


def quantity(objective: Objective, value: float) -> str:
    """Returns a value of an objective with its unit: "+0.83 points", "24.3k parameters", "97.3 kB"."""
    text = number_text(objective, value)
    if text == MISSING or objective.name == "size_bytes" or not objective.unit:
        return text
    return f"{text} {'MACs' if objective.name == 'macs' else objective.unit}"


def duration(seconds: float) -> str:
    """Returns seconds as people say them: "8.4 s", "3 min 12 s", "5 h 04 min"; `MISSING` for NaN."""
    if math.isnan(seconds):
        return MISSING
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def percent(value: float) -> str:
    """Returns a share in percent, three digits: "1.15 %", "37.2 %"; `MISSING` for NaN."""
    return MISSING if math.isnan(value) else f"{_three_digits(100.0 * value)} %"
