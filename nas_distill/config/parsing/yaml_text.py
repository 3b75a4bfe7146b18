"""Reading and writing the YAML of configurations: YAML 1.2, without tags, each key once.

ruamel.yaml parses, refuses duplicate keys and knows the line of each key. Our own code adds the limits that the library
lacks: it stops at tags, at deep nesting and at aliases that multiply values.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, StreamMark, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, Event, ScalarEvent
from ruamel.yaml.scalarbool import ScalarBoolean

from nas_distill.errors import ConfigError

KeyPath = tuple[str, ...]

_LONG = 20_000
"""Length of a text from which JSON is read by Python's own parser, which does not know the lines of keys."""

_MAX_DEPTH = 30
"""Levels of nesting. Configurations have about six; the scanner's time grows faster than the depth squared."""

_MAX_VALUES = 5_000
"""Values in a text, aliases expanded: nine levels of nine aliases each would be 400 million values. The library reads
about 5,000 values per second."""

MAX_BYTES = 500_000
"""Size of a text, bytes."""


def parse_yaml(text: str, *, origin: str, is_file: bool = True) -> tuple[Any, dict[KeyPath, int]]:
    """Return the value in a YAML or JSON text as plain Python values, and the line of each key.

    Args:
        text: The YAML.
        origin: File or flag that holds the text; the field of errors.
        is_file: Whether errors name lines.

    Returns:
        The value, None for an empty text; and the line of each key, from 1. Merged keys (`<<`) have no line.

    Raises:
        ConfigError: The text is not YAML, has a tag or a key that is not text, repeats a key, contains itself, is
            nested too deeply, or expands to too many values.
    """
    reader = _Reader(origin, is_file=is_file)
    if len(text) > _LONG and text.lstrip()[:1] in {"{", "["}:
        try:
            return json.loads(text, object_pairs_hook=_without_duplicates), {}
        except (ValueError, RecursionError):
            pass  # YAML that looks like JSON, or an error that the other parser explains
    try:
        reader.check_events(text)
        return reader.plain(YAML().load(text)), reader.lines
    except MarkedYAMLError as error:
        problem = error.problem or error.context or "unreadable"
        code = "config.duplicate_key" if "duplicate key" in problem else "config.not_yaml"
        raise reader.error(f"not valid YAML: {problem}", code, error.problem_mark or error.context_mark) from None
    except (YAMLError, ValueError, RecursionError, AttributeError, TypeError, LookupError, AssertionError) as error:
        # The library itself fails on some texts that are not YAML.
        raise reader.error(f"not valid YAML: {' '.join(str(error).split())}", "config.not_yaml") from None


def _without_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is repeated")
    return found


def dump_yaml(value: object) -> str:
    """Return a value as YAML text that `parse_yaml` reads back, one key per line."""
    return _dumped(value, flow=False, width=110)


def inline_yaml(value: object) -> str:
    """Return a value as YAML on one line, such as `{kd: {temperature: 4}}`."""
    return _dumped(value, flow=True, width=10_000).removesuffix("...\n").strip()


def _dumped(value: object, *, flow: bool, width: int) -> str:
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = flow
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # declared as None
    writer.allow_unicode = True
    writer.width = width
    out = io.StringIO()
    writer.dump(value, out)
    return out.getvalue()


class _Nodes:
    """The mappings and lists around the current event, with the number of values in each, aliases expanded."""

    def __init__(self) -> None:
        self._open: list[tuple[str | None, int]] = [(None, 0)]
        self._sizes: dict[str, int] = {}

    @property
    def depth(self) -> int:
        """Levels of nesting."""
        return len(self._open) - 1

    @property
    def size(self) -> int:
        """Number of values in the innermost mapping or list so far."""
        return self._open[-1][1]

    def is_open(self, anchor: str) -> bool:
        """Return whether the mapping or list with this anchor has not ended."""
        return any(name == anchor for name, _ in self._open)

    def add(self, event: Event) -> None:
        """Count an event."""
        if isinstance(event, AliasEvent):
            self._count(self._sizes.get(event.anchor, 1))
        elif isinstance(event, ScalarEvent):
            self._count(1)
        elif isinstance(event, CollectionStartEvent):
            self._open.append((event.anchor, 1))
        elif isinstance(event, CollectionEndEvent):
            anchor, size = self._open.pop()
            self._count(size)
            if anchor is not None:
                self._sizes[anchor] = size

    def _count(self, values: int) -> None:
        anchor, size = self._open[-1]
        self._open[-1] = (anchor, size + values)


class _Reader:
    """Checks one text and turns ruamel's values into plain ones.

    Args:
        origin: File or flag that holds the text.
        is_file: Whether errors name lines.

    Attributes:
        lines: Line of each key met so far, from 1.
    """

    def __init__(self, origin: str, *, is_file: bool) -> None:
        self._origin = origin
        self._is_file = is_file
        self.lines: dict[KeyPath, int] = {}

    def check_events(self, text: str) -> None:
        """Refuse tags, deep nesting, too many values and anchors that contain themselves, before any value is built.

        Raises:
            ConfigError: The text has one of these.
        """
        if len(text) > MAX_BYTES:
            raise self.error(f"longer than {MAX_BYTES:,} characters; shorten it", "config.yaml_too_large")
        nodes = _Nodes()
        for event in YAML().parse(text):
            if isinstance(event, ScalarEvent | CollectionStartEvent) and event.tag is not None:
                raise self.error(
                    f"the tag {event.tag} is not allowed; write a plain value", "config.yaml_tag", event.start_mark
                )
            if isinstance(event, AliasEvent) and nodes.is_open(event.anchor):
                raise self.error(
                    f"the anchor '{event.anchor}' contains itself; write the values out",
                    "config.recursive_anchor",
                    event.start_mark,
                )
            nodes.add(event)
            if nodes.depth > _MAX_DEPTH:
                raise self.error(
                    f"nested deeper than {_MAX_DEPTH} levels; flatten it", "config.yaml_too_large", event.start_mark
                )
            if nodes.size > _MAX_VALUES:
                raise self.error(
                    f"more than {_MAX_VALUES:,} values, aliases expanded; write fewer, or a JSON file",
                    "config.yaml_too_large",
                    event.start_mark,
                )

    def plain(self, value: Any, path: KeyPath = ()) -> Any:
        """Return a value without ruamel's own types, and note the lines of its keys.

        Args:
            value: What ruamel read.
            path: Keys from the root; positions in lists count as keys.

        Raises:
            ConfigError: A key is not text.
        """
        if isinstance(value, CommentedMap):
            return {key: self.plain(item, self._note(value, key, path)) for key, item in value.items()}
        if isinstance(value, CommentedSeq):
            return [self.plain(item, (*path, str(index))) for index, item in enumerate(value)]
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, ScalarBoolean):  # true or false with an anchor, a subclass of int
            return bool(value)
        # Numbers and texts are subclasses that remember their spelling.
        for kind in (int, float, str):
            if isinstance(value, kind):
                return kind(value)
        return value

    def _note(self, mapping: CommentedMap, key: object, path: KeyPath) -> KeyPath:
        place = (mapping.lc.data or {}).get(key)
        line = None if place is None else place[0] + 1
        if not isinstance(key, str):
            raise self.error(
                f"the key {key!r:.40} is not text; quote it or rename it", "config.key_not_text", line=line
            )
        if line is not None:
            self.lines[(*path, key)] = line
        return (*path, key)

    def error(self, message: str, code: str, mark: StreamMark | None = None, *, line: int | None = None) -> ConfigError:
        """Return an error that names the file and the line, where there is one."""
        place = "" if line is None else f":{line}"
        if mark is not None:
            place = f":{mark.line + 1}:{mark.column + 1}"
        return ConfigError(message, code=code, field=self._origin + (place if self._is_file else ""))
