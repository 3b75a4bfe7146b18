"""YAML as configurations are written in it: numbers as people write them, and no key twice."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from nas_distill.errors import ConfigError

KeyPath = tuple[str, ...]


class Loader(yaml.SafeLoader):
    """YAML's safe loader, with the floats of YAML 1.2."""


class Dumper(yaml.SafeDumper):
    """Its counterpart: quotes exactly the text that `Loader` would take for a number."""


# PyYAML reads YAML 1.1, in which 1e-3 (no point) is text; people mean the number.
for _side in (Loader, Dumper):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
        list("-+.0123456789"),
    )


def read_value(text: str, *, origin: str, path: KeyPath = ()) -> Any:
    """Returns the value that one line of YAML, such as that of a flag, gives to the key at `path`.

    Args:
        text: The YAML.
        origin: What to call it in an error.
        path: Keys from the root of the configuration.

    Raises:
        ConfigError: A key is given twice or is no name, or an anchor contains itself.
        yaml.YAMLError, ValueError: It is no YAML.
    """
    return _read(text, path, _Keys(origin=origin, numbered=False))


def read_mapping(text: str, *, origin: str) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """Returns the mapping in a file's YAML, and the line of each key (from 1); empty ones for an empty text.

    Args:
        text: The YAML.
        origin: The file; errors add the line.

    Raises:
        ConfigError: It is no mapping, a key is given twice or is no name, or an anchor contains itself.
        yaml.YAMLError, ValueError: It is no YAML.
    """
    keys = _Keys(origin=origin, numbered=True)
    value = _read(text, (), keys)
    return ({} if value is None else value), keys.lines


def inline(value: object) -> str:
    """Returns a value as YAML on one line, such as `{kd: {temperature: 4}}`."""
    return yaml.dump(value, Dumper=Dumper, default_flow_style=True, sort_keys=False, width=10_000).strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keys:
    """The keys of one text.

    Attributes:
        origin: The text, in errors.
        numbered: Whether errors name lines: not of a text of one line.
        lines: The line of each key, from 1.
    """

    origin: str
    numbered: bool
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def at(self, line: int) -> str:
        """Returns what to call a line in an error."""
        return f"{self.origin}:{line}" if self.numbered else self.origin

    def note(self, node: yaml.Node, path: KeyPath, above: frozenset[int]) -> None:
        """Notes the keys at and below a node, `above` being the nodes that it lies in."""
        if id(node) in above:
            raise ConfigError(f"{self.at(_line(node))}: an anchor contains itself; write the values out")
        above |= {id(node)}
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.note(item, (*path, str(index)), above)
        if not isinstance(node, yaml.MappingNode):
            return
        own: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = _line(key_node)
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if key_node.tag != "tag:yaml.org,2002:str":
                raise ConfigError(
                    f"{self.at(line)}: the key {key_node.value!r:.40} is not a name; quote it or rename it"
                )
            key = (*path, key_node.value)
            if key[-1] in own:
                first = f" (first in line {own[key[-1]]})" if self.numbered else ""
                raise ConfigError(f"{self.at(line)}: '{'.'.join(key)}' is given twice{first}; keep one")
            own[key[-1]] = self.lines[key] = line
            self.note(value_node, key, above)


def _read(text: str, path: KeyPath, keys: _Keys) -> Any:
    loader = Loader(text)
    node = loader.get_single_node()
    if node is None:
        return None
    if keys.numbered and not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{keys.at(_line(node))}: is not a mapping; write `key: value` lines")
    keys.note(node, path, frozenset())
    return loader.construct_document(node)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
