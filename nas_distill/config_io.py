"""Reads a `SearchConfig` from defaults, a YAML file, flags and `--set`, and writes it back.

Later layers win: defaults < YAML < flags < `--set`. A section (`data`, `recipe`, ...) given in a layer is
merged, key by key, over what lower layers say. A free mapping (`recipe.losses`, `teacher.arguments`) given as
a whole replaces what lower layers say, because a loss that is not listed is not meant;
`--set recipe.losses.dist.temperature=2` reaches inside and edits the mapping in effect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ValidationError

from nas_distill.config import SearchConfig
from nas_distill.errors import ConfigError, RunError, nearest_names
from nas_distill.frozen import Record
from nas_distill.store import RunDirectory

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

KeyPath = tuple[str, ...]


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, with the floats of YAML 1.2."""


class _Dumper(yaml.SafeDumper):
    """Its counterpart: quotes exactly the text that `_Loader` would take for a number."""


# PyYAML reads YAML 1.1, in which 1e-3 (no point) is text; people mean the number.
for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
        list("-+.0123456789"),
    )


def load_config(
    yaml_path: Path | None = None,
    overrides: Sequence[str] = (),
    flags: Mapping[str, object] | None = None,
    *,
    flag_names: Mapping[str, str] | None = None,
) -> SearchConfig:
    """Returns the configuration that the layers say together.

    Args:
        yaml_path: A YAML file; None for none.
        overrides: `KEY=VALUE` with a dotted key and a YAML value, applied in order (`--set`).
        flags: Dotted key to value; None as a value is a flag that was not given.
        flag_names: Dotted key to the flag's spelling, for errors; `--KEY` by default.

    Raises:
        ConfigError: A file cannot be read or parsed, or breaks a rule; one line per broken rule.
    """
    draft = _Draft()
    if yaml_path is not None:
        draft.put_file(yaml_path)
    for dotted, value in (flags or {}).items():
        if value is not None:
            origin = (flag_names or {}).get(dotted, f"--{dotted}")
            draft.put(tuple(dotted.split(".")), value, {tuple(dotted.split(".")): origin})
    for override in overrides:
        path, value = parse_assignment(override, flag="--set")
        draft.put(path, value, {path: f"--set {override}"})
    return draft.validated()


def dump_config(config: SearchConfig) -> str:
    """Returns YAML that `load_config` reads back as an equal configuration."""
    return yaml.dump(config.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def parse_yaml(text: str, *, origin: str) -> Any:
    """Returns the value in YAML (or JSON) text, read as configurations are.

    Raises:
        ConfigError: It is no YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - _Loader is a SafeLoader
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{origin}: is no YAML: {' '.join(str(error).split())}") from None


def read_run_config(run: RunDirectory) -> SearchConfig:
    """Returns the configuration that a run was started with.

    Raises:
        RunError: There is no run, or its `config.yaml` is damaged.
    """
    try:
        return load_config(run.existing().config)
    except ConfigError as error:
        raise RunError(
            f"{error}; this file is the run's memory: undo the edit, or use the version that wrote it"
        ) from None


def parse_assignment(text: str, *, flag: str, example: str = "recipe.epochs=20") -> tuple[KeyPath, Any]:
    """Returns the key path and value of `a.b=c`, the value read as YAML (so JSON is welcome).

    Args:
        text: What the user wrote.
        flag: After which.
        example: Of what to write.

    Raises:
        ConfigError: There is no `=`, a part of the key is empty, or the value is no YAML.
    """
    dotted, equals, source = text.partition("=")
    path = tuple(part.strip() for part in dotted.split("."))
    if not equals or not all(path):
        raise ConfigError(f"{flag} {text}: is not KEY=VALUE; write, for example, {flag} {example}")
    try:
        return path, yaml.load(source, Loader=_Loader)  # noqa: S506 - _Loader is a SafeLoader
    except (yaml.YAMLError, ValueError) as error:
        reason = getattr(error, "problem", None) or error
        raise ConfigError(f"{flag} {text}: the value is no YAML ({reason}); quote text with special signs") from None


class _Draft:
    """Values gathered so far, and where each came from."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = SearchConfig().model_dump(mode="json")
        self._origins: dict[KeyPath, str] = {}

    def put_file(self, path: Path) -> None:
        """Merges a YAML file."""
        values, lines = _read_yaml(path)
        self.put((), values, {key: f"{path}:{line}" for key, line in lines.items()})

    def put(self, path: KeyPath, value: Any, origins: Mapping[KeyPath, str]) -> None:
        """Sets what lies at `path`; sections merge, everything else is replaced.

        Args:
            path: Keys from the root.
            value: The new value.
            origins: For `path` and what lies below it, where it was written.
        """
        if _section_at(path) is not None:
            if value is None:  # an empty section, such as one whose lines are all commented out
                return
            if isinstance(value, Mapping):
                if path in origins:
                    self._origins[path] = origins[path]
                for key, item in value.items():
                    self.put((*path, key), item, origins)
                return
        if not path:
            raise AssertionError("the root is always a mapping")
        self._parent_of(path, origins)[path[-1]] = value
        self._origins = {key: origin for key, origin in self._origins.items() if key[: len(path)] != path}
        self._origins.update({key: origin for key, origin in origins.items() if key[: len(path)] == path})

    def _parent_of(self, path: KeyPath, origins: Mapping[KeyPath, str]) -> dict[str, Any]:
        parent = self._values
        for depth, key in enumerate(path[:-1], 1):
            child = parent.get(key)
            if child is None:
                child = {}
            elif not isinstance(child, Mapping):
                dotted, origin = ".".join(path[:depth]), origins.get(path, ".".join(path))
                raise ConfigError(
                    f"{origin}: '{dotted}' is a value ({child!r:.60}), not a section; set '{dotted}' itself"
                )
            # Copied on the way down: what flags and YAML anchors handed in is never changed.
            parent[key] = dict(child)
            parent = parent[key]
        return parent

    def validated(self) -> SearchConfig:
        """Returns the configuration.

        Raises:
            ConfigError: One line per broken rule.
        """
        try:
            return SearchConfig.model_validate(self._values)
        except ValidationError as error:
            lines = [self._explain(details) for details in error.errors(include_url=False)]
            raise ConfigError("\n".join(lines)) from None
        except ConfigError as error:
            field = str(error).partition(":")[0]
            raise ConfigError(self._origin(tuple(field.split("."))) + str(error)) from None

    def _origin(self, path: KeyPath) -> str:
        for length in range(len(path), 0, -1):
            if path[:length] in self._origins:
                return f"{self._origins[path[:length]]}: "
        below = next((origin for key, origin in self._origins.items() if key[: len(path)] == path), None)
        return f"{below}: " if path and below else ""

    def _explain(self, details: ErrorDetails) -> str:
        path = tuple(str(part) for part in details["loc"])
        dotted = ".".join(path)
        if details["type"] == "extra_forbidden":
            return f"{self._origin(path)}unknown key '{dotted}'; {_hint(path)}"
        message, value = details["msg"].removeprefix("Value error, "), details["input"]
        if details["type"] in {"model_type", "dict_type", "mapping_type"}:
            message = "Input should be a mapping (`key: value` lines)"
        if message.startswith("Input "):
            message = f"{dotted} {message.removeprefix('Input ')}"
        elif dotted:
            message = f"{dotted}: {message}"
        found = "" if isinstance(value, Mapping) and _section_at(path) is not None else f"; found {value!r:.80}"
        return f"{self._origin(path)}{message}{found}"


def _hint(path: KeyPath) -> str:
    homes = [".".join(section) for section in _SECTIONS if path[-1] in _SECTIONS[section].model_fields]
    if homes:
        where = " or ".join(f"'{home}.{path[-1]}'" if home else f"'{path[-1]}'" for home in homes)
        return f"did you mean {where}?"
    parent = _section_at(path[:-1])
    return nearest_names(path[-1], parent.model_fields if parent else ())


def _sections(model: type[BaseModel], path: KeyPath = ()) -> dict[KeyPath, type[BaseModel]]:
    found = {path: model}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Record):
            found.update(_sections(field.annotation, (*path, name)))
    return found


_SECTIONS = _sections(SearchConfig)


def _section_at(path: KeyPath) -> type[BaseModel] | None:
    return _SECTIONS.get(path)


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """Returns the mapping in a YAML file, and the line of each key (from 1)."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}; check --config") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    lines: dict[KeyPath, int] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return {}, {}
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path}:{node.start_mark.line + 1}: is not a mapping; write `key: value` lines")
        _note_lines(node, (), lines, path, frozenset())
        values = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: is no YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: is no YAML: {' '.join(str(error).split())}") from None
    return values, lines


def _note_lines(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], file: Path, above: frozenset[int]) -> None:
    if id(node) in above:
        raise ConfigError(f"{file}:{node.start_mark.line + 1}: an anchor contains itself; write the values out")
    above |= {id(node)}
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _note_lines(item, (*path, str(index)), lines, file, above)
    if not isinstance(node, yaml.MappingNode):
        return
    own: dict[str, int] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        if key_node.tag != "tag:yaml.org,2002:str":
            raise ConfigError(f"{file}:{line}: the key {key_node.value!r:.40} is not a name; quote it or rename it")
        key = (*path, key_node.value)
        if key[-1] in own:
            dotted, first = ".".join(key), own[key[-1]]
            raise ConfigError(f"{file}:{line}: '{dotted}' is given twice (first in line {first}); keep one")
        own[key[-1]] = lines[key] = line
        _note_lines(value_node, key, lines, file, above)
