"""Format numbers with their units: counts, bytes, durations, shares, gaps and sizes."""

from __future__ import annotations

import math

from nas_distill.objectives import Objective

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
SIZE_UNITS = {"num_params": "parameters", "macs": "MACs", "size_bytes": "bytes", "latency_ms": "ms"}
"""Units of the columns that can be a student's size."""

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_PRECISION = {"points": 2, "nats": 3}


def _three_digits(value: float) -> str:
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def short_count(value: float) -> str:
    """Return a count of at least 0 with three digits: "950", "9.57k", "1.24M"."""
    for size, prefix in _PREFIXES:
        # 999.6k would round to 1000k.
        if value >= size * 0.9995:
            return f"{_three_digits(value / size)}{prefix}"
    return f"{value:.0f}"


def short_bytes(value: float) -> str:
    """Return a number of bytes with three digits and a decimal prefix: "950 B", "97.3 kB"."""
    text = short_count(value)
    return f"{text[:-1]} {text[-1]}B" if text[-1].isalpha() else f"{text} B"


def signed(value: float, digits: int = 2) -> str:
    """Return a number with its sign and a typographic minus, without a sign at zero: "+0.83", "0.00"."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0.0:
        return text
    return f"{MINUS if value < 0 else '+'}{text}"


def number_text(objective: Objective, value: float) -> str:
    """Return a value of an objective without its unit; `MISSING` for NaN."""
    if math.isnan(value):
        return MISSING
    if objective.unit == "bytes":
        return short_bytes(value)
    if objective.scale == "log10":
        return short_count(value) if objective.is_count else f"{value:.3g}"
    if not objective.unit:
        return percent(value)
    digits = _PRECISION[objective.unit]
    return signed(value, digits) if objective.unit == "points" else f"{value:.{digits}f}"


def quantity(objective: Objective, value: float) -> str:
    """Return a value of an objective with its unit: "+0.83 points", "24.3k parameters", "97.3 kB"."""
    text = number_text(objective, value)
    if text == MISSING or objective.unit == "bytes" or not objective.unit:
        return text
    return f"{text} {'MACs' if objective.name == 'macs' else objective.unit}"


def duration(seconds: float) -> str:
    """Return a duration: "8.4 s", "3 min 12 s", "5 h 04 min"; `MISSING` for NaN."""
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
    """Return a share in percent with three digits: "1.15 %", "37.2 %"; `MISSING` for NaN."""
    return MISSING if math.isnan(value) else f"{_three_digits(100.0 * value)} %"


def size_text(size: str, value: float) -> str:
    """Return a size with its unit: "12.3k parameters", "97.3 kB", "1.2 ms".

    Args:
        size: Column of the table of trials: "num_params", "macs", "size_bytes" or "latency_ms".
        value: Size, in the unit of the column.
    """
    if size == "size_bytes":
        return short_bytes(value)
    if size == "latency_ms":
        return f"{value:.3g} ms"
    return f"{short_count(value)} {SIZE_UNITS[size]}"
