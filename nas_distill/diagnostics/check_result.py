"""The outcome of a check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CheckStatus(StrEnum):
    """How a check went."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The outcome of one check.

    Attributes:
        name: What was checked.
        status: OK; WARN, the work can be done but slower or not everywhere; FAIL, it cannot.
        found: What was found.
        fix: What to do about it; empty when OK.
    """

    name: str
    status: CheckStatus
    found: str
    fix: str = ""
