"""The stable codes of all user errors and their meaning; `docs/reference/error-codes.md` is generated from them.

A code is `area.rule`. It never changes once released; the wording of a message may.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_CONFIG: dict[str, str] = {}

_DATA: dict[str, str] = {}

_KNOWLEDGE: dict[str, str] = {}

_MODELS: dict[str, str] = {}

_LOSSES: dict[str, str] = {}

_TRAIN: dict[str, str] = {}

_RUN: dict[str, str] = {}

_STUDY: dict[str, str] = {}

_SPACE: dict[str, str] = {}

_SEARCH: dict[str, str] = {}

_CLUSTER: dict[str, str] = {}

_CONFIRM: dict[str, str] = {}

_ANALYSIS: dict[str, str] = {
    "analysis.gap_tolerance_not_a_number": "A gap tolerance is not a finite number of percentage points.",
    "analysis.unknown_pick": "No pick rule has this name.",
}

_CLI: dict[str, str] = {}

CODES: Mapping[str, str] = MappingProxyType(
    _CONFIG | _DATA | _KNOWLEDGE | _MODELS | _LOSSES | _TRAIN | _RUN | _STUDY | _SPACE | _SEARCH | _CLUSTER | _CONFIRM
    | _ANALYSIS | _CLI
)  # fmt: skip
"""Code -> meaning, one sentence."""
