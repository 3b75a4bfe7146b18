"""`Check`: the result of one check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CheckStatus(StrEnum):
    """Status of a check: all good, usable with limits, or not usable."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The result of one check.

    Attributes:
        name: Name of the checked item, such as "memory".
        status: OK; WARN if searches are slower or limited; FAIL if they cannot run.
        finding: Description of the current state.
        fix: Suggested action; empty if the status is OK.
    """

    name: str
    status: CheckStatus
    finding: str
    fix: str = ""
