"""The base class of all records: frozen, validated, with JSON serialisation.

Records are pydantic models rather than dataclasses, so that a record read from disk passes the same checks as a record
made in memory: unknown fields, NaN and infinities are rejected.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic_core import ErrorDetails, from_json

from nas_distill.errors import NasDistillError, RunError

_CHECKSUM = b'"checksum":'

Share = Annotated[float, Field(ge=0.0, le=1.0)]


def _frozen_mapping(value: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in value:
        if not isinstance(key, str):
            raise ValueError(f"the key {key!r} is not a string; JSON has no other keys")
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
    raise ValueError(f"{value!r} is not a JSON value (string, boolean, finite number, null, list or mapping of those)")


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
    """Base class of all records: immutable, rejects unknown fields, finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    def __reduce__(self) -> tuple[Callable[[str], Self], tuple[str]]:
        # Frozen mappings (MappingProxyType) do not pickle; Ray moves records between processes.
        return (type(self).model_validate_json, (self.model_dump_json(),))

    def canonical_json(self) -> str:
        """Return JSON with sorted keys and no spaces, identical for equal records."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)

    def digest(self) -> str:
        """Return the first 12 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()[:12]


RecordT = TypeVar("RecordT", bound=Record)


def other_version(origin: str, found: object, expected: object) -> RunError:
    """Return the error for a record that was written by another version of nas_distill.

    Args:
        origin: Name of the place of the record, such as its path.
        found: Schema version that was found; None when there is none.
        expected: Schema version that this version reads.
    """
    return RunError(
        f"was written by another version of nas_distill (schema_version {found!r} instead of {expected}); start a new "
        "run in another --out, or use the version that wrote it",
        code="run.other_version",
        field=origin,
    )


def parse_record(model: type[RecordT], text: str | bytes, *, origin: str) -> RecordT:
    """Return the record in `text`.

    Args:
        model: Class of the record.
        text: JSON.
        origin: Name of the place of the text in an error, such as its path.

    Raises:
        RunError: The text is not JSON, violates a rule, or was written by another version.
    """
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise _unreadable(model, error.errors(), origin) from None
    except NasDistillError as error:
        raise RunError(str(error), code="run.damaged_record", field=origin) from None


def seal(record: Record, *, indent: int | None = None) -> str:
    """Return the record as JSON whose last key is a checksum of the text before it.

    A single flipped bit in a stored number would otherwise be believed.

    Args:
        record: Record with at least one field.
        indent: Spaces per level; None for one line.
    """
    return seal_json(record.model_dump_json(indent=indent), indent=indent)


def seal_json(text: str, *, indent: int | None = None) -> str:
    """Return a JSON object with a checksum as its last key (see `seal`).

    Args:
        text: JSON object with at least one key.
        indent: Spaces per level; None for one line.
    """
    content = text.removesuffix("}").rstrip()
    gap = "" if indent is None else "\n"
    return f'{content},{gap}{" " * (indent or 0)}"checksum":"{_checksum(content.encode())}"{gap}}}'


def unsealed(text: str | bytes, *, origin: str) -> bytes:
    """Return a text of `seal` without its checksum, as JSON.

    Args:
        text: Sealed JSON.
        origin: Name of the place of the text in an error, such as its path.

    Raises:
        RunError: The checksum is missing or does not match.
    """
    sealed = text.encode(errors="replace") if isinstance(text, str) else text
    before, key, after = sealed.rpartition(_CHECKSUM)
    content = before.rstrip(b"\n ").removesuffix(b",")
    if key and after.removesuffix(b"\n").replace(b"\n}", b"}") == f'"{_checksum(content)}"}}'.encode():
        return content + b"}"
    problem = "its checksum does not match its content" if key else "it has no checksum"
    fix = "`nas_distill repair RUN` restores what it can"
    raise RunError(f"the record is damaged: {problem}; {fix}", code="run.damaged_record", field=origin)


def parse_sealed(model: type[RecordT], text: str | bytes, *, origin: str) -> RecordT:
    """Return the record in a text of `seal`.

    Args:
        model: Class of the record.
        text: Sealed JSON.
        origin: Name of the place of the text in an error, such as its path.

    Raises:
        RunError: The checksum does not match, or the text violates a rule or was written by another version.
    """
    try:
        content = unsealed(text, origin=origin)
    except RunError:
        _check_version(model, text, origin)
        raise
    return parse_record(model, content, origin=origin)


def _check_version(model: type[Record], text: str | bytes, origin: str) -> None:
    """Check that a text with a wrong checksum is not simply one of another version."""
    expected = getattr(model.model_fields.get("schema_version"), "default", None)
    try:
        found = from_json(text)
    except ValueError:
        return
    if expected is not None and isinstance(found, dict) and found.get("schema_version", expected) != expected:
        raise other_version(origin, found["schema_version"], expected)


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _unreadable(model: type[Record], errors: Sequence[ErrorDetails], origin: str) -> RunError:
    """Return the error for a text that is not a record; a wrong version explains all other errors."""
    for error in errors:
        if error["loc"] == ("schema_version",):
            return other_version(origin, error["input"], model.model_fields["schema_version"].default)
    first = errors[0]
    place = ".".join(str(part) for part in first["loc"]) or "the whole text"
    return RunError(f"{place}: {first['msg']} (found {first['input']!r:.80})", code="run.damaged_record", field=origin)
