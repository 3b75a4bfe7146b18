"""Durations as text, such as "1h30m"."""

from __future__ import annotations

import re
from typing import Any

_NUMBER = r"(\d+(?:\.\d*)?)"
_DURATION = re.compile(rf"(?:{_NUMBER}d)?\s*(?:{_NUMBER}h)?\s*(?:{_NUMBER}m)?\s*(?:{_NUMBER}s?)?")
_UNITS_S = (86_400.0, 3600.0, 60.0, 1.0)


def seconds(value: Any) -> Any:
    """Return a duration in seconds; anything but text is returned as it is.

    Raises:
        ValueError: The text is no duration.
    """
    if not isinstance(value, str):
        return value
    parts = _DURATION.fullmatch(value.strip().lower())
    if parts is None or not any(parts.groups()):
        raise ValueError("must be a duration such as 8h, 90m, 1h30m or 3600s")
    return sum(float(part) * unit for part, unit in zip(parts.groups(), _UNITS_S, strict=True) if part)
