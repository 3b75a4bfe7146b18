"""The base of all records: frozen, validated, JSON both ways.

Records are pydantic models rather than dataclasses so that what comes back from disk passes the same checks as what
was made in memory: unknown fields, NaN and infinities are refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError

from nas_distill.errors import NasDistillError, RunError

SCHEMA_VERSION = 1

Share = Annotated[float, Field(ge=0.0, le=1.0)]


def _frozen_mapping(value: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in value:
        if not isinstance(key, str):
            raise ValueError(f"the key {key!r} is no text, and JSON has no other keys")
    return MappingProxyType({key: _frozen(value[key]) for key in sorted(value)})


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _frozen_mapping(value)
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ValueError(f"{value!r} is no JSON value (text, true/false, finite number, null, list or mapping of those)")


def _thawed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _thawed(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_thawed(item) for item in value]
    return value


FrozenArguments = Annotated[
    Mapping[str, Any], AfterValidator(_frozen_mapping), PlainSerializer(_thawed, return_type=dict[str, Any])
]
FrozenFloats = Annotated[
    Mapping[str, float],
    AfterValidator(_frozen_mapping),
    PlainSerializer(_thawed, return_type=dict[str, float]),
]
FrozenTexts = Annotated[
    Mapping[str, str], AfterValidator(_frozen_mapping), PlainSerializer(_thawed, return_type=dict[str, str])
]
FrozenLosses = Annotated[
    Mapping[str, Mapping[str, float]],
    AfterValidator(_frozen_mapping),
    PlainSerializer(_thawed, return_type=dict[str, Any]),
]


class Record(BaseModel):
    """Base of all records: immutable, strict about names, finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    def __reduce__(self) -> tuple[Callable[[str], Self], tuple[str]]:
        # Frozen mappings (MappingProxyType) do not pickle; Ray moves records between processes.
        return (type(self).model_validate_json, (self.model_dump_json(),))

    def canonical_json(self) -> str:
        """Returns JSON with sorted keys and no spaces, the same for equal records."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)

    def digest(self) -> str:
        """Returns the first 12 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()[:12]


RecordT = TypeVar("RecordT", bound=Record)


def parse_record(model: type[RecordT], text: str | bytes, *, origin: str) -> RecordT:
    """Returns the record in `text`.

    Args:
        model: The record's class.
        text: JSON.
        origin: What to call the text in an error, such as its path.

    Raises:
        RunError: The text is no JSON, breaks a rule, or was written by a newer version.
    """
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the whole text"
        if field == "schema_version":
            raise RunError(
                f"{origin}: schema_version {first['input']!r} is not {SCHEMA_VERSION}; "
                "it was written by another version of nas_distill, open it with that one"
            ) from None
        raise RunError(f"{origin}: {field}: {first['msg']} (found {first['input']!r:.80})") from None
    except NasDistillError as error:
        raise RunError(f"{origin}: {error}") from None
