"""Reads a `SearchConfig` from defaults, a YAML file, flags and `--set`, and writes it back.

Later layers win: defaults < YAML < flags < `--set`. A section (`data`, `recipe`, ...) given in a layer is
merged, key by key, over what lower layers say. A free mapping (`recipe.losses`, `teacher.arguments`) given as
a whole replaces what lower layers say, because a loss that is not listed is not meant;
`--set recipe.losses.dist.temperature=2` reaches inside and edits the mapping in effect. Into a loss that is not in
effect nothing reaches, because it could be meant instead of those that are, or beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from nas_distill.config import SearchConfig
from nas_distill.config.fields import example, hint, section_at, truths
from nas_distill.config.yaml_text import Dumper, KeyPath, Loader, inline, read_mapping, read_value
from nas_distill.errors import ConfigError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


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
        origin = f"--set {override}"
        draft.check_in_effect(path, value, origin)
        draft.put(path, value, {path: origin})
    return draft.validated()


def dump_config(config: SearchConfig) -> str:
    """Returns YAML that `load_config` reads back as an equal configuration."""
    return yaml.dump(config.model_dump(mode="json"), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110)


def parse_yaml(text: str, *, origin: str) -> Any:
    """Returns the value in YAML (or JSON) text, read as configurations are.

    Raises:
        ConfigError: It is no YAML.
    """
    try:
        return yaml.load(text, Loader=Loader)  # noqa: S506 - Loader is a SafeLoader
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{origin}: is no YAML: {' '.join(str(error).split())}") from None


def parse_assignment(text: str, *, flag: str, example: str = "recipe.epochs=20") -> tuple[KeyPath, Any]:
    """Returns the key path and value of `a.b=c`, the value read as YAML (so JSON is welcome).

    Args:
        text: What the user wrote.
        flag: After which.
        example: Of what to write.

    Raises:
        ConfigError: There is no `=`, a part of the key is empty, or the value is no YAML or holds a key twice.
    """
    dotted, equals, source = text.partition("=")
    path = tuple(part.strip() for part in dotted.split("."))
    if not equals or not all(path):
        raise ConfigError(f"{flag} {text}: is not KEY=VALUE; write, for example, {flag} {example}")
    try:
        return path, read_value(source, origin=f"{flag} {text}", path=path)
    except (yaml.YAMLError, ValueError) as error:
        reason = getattr(error, "problem", None) or error
        raise ConfigError(f"{flag} {text}: the value is no YAML ({reason}); quote text with special signs") from None


_LOSSES: KeyPath = ("recipe", "losses")


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
        if section_at(path) is not None:
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

    def check_in_effect(self, path: KeyPath, value: Any, origin: str) -> None:
        """Checks that a key below `recipe.losses` belongs to a loss that the recipe has so far.

        Args:
            path: Keys from the root.
            value: What it is to be.
            origin: Where it was written.

        Raises:
            ConfigError: It would add its loss to those in effect, and nobody said whether it is to replace them.
        """
        inside = path[len(_LOSSES) :]
        recipe = self._values[_LOSSES[0]]
        losses = recipe.get(_LOSSES[1]) if isinstance(recipe, Mapping) else recipe
        in_effect = {} if losses is None else losses
        if not inside or path[: len(_LOSSES)] != _LOSSES or not isinstance(in_effect, Mapping):
            return
        name, *parameters = inside
        # What is no mapping is no loss either: the records say so.
        if name not in in_effect and (parameters or isinstance(value, Mapping)):
            terms = reduce(lambda below, key: {key: below}, reversed(parameters), value)
            raise ConfigError(f"{origin}: {_not_in_effect(name, terms, in_effect)}")

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
        written = tuple(truths(self._values))
        lines = [f"{self._origin(path)}{'.'.join(path)} should be a number, not true or false" for path in written]
        try:
            config = SearchConfig.model_validate(self._values)
        except ValidationError as error:
            others = [details for details in error.errors(include_url=False) if _path(details) not in written]
            lines += [self._explain(details) for details in others]
            raise ConfigError("\n".join(lines)) from None
        except ConfigError as error:
            field = str(error).partition(":")[0]
            raise ConfigError(self._origin(tuple(field.split("."))) + str(error)) from None
        if lines:
            raise ConfigError("\n".join(lines))
        return config

    def _origin(self, path: KeyPath) -> str:
        for length in range(len(path), 0, -1):
            if path[:length] in self._origins:
                return f"{self._origins[path[:length]]}: "
        below = next((origin for key, origin in self._origins.items() if key[: len(path)] == path), None)
        return f"{below}: " if path and below else ""

    def _explain(self, details: ErrorDetails) -> str:
        path = _path(details)
        dotted = ".".join(path)
        if details["type"] == "extra_forbidden":
            return f"{self._origin(path)}unknown key '{dotted}'; {hint(path)}"
        message, value = details["msg"].removeprefix("Value error, "), details["input"]
        if details["type"] in {"model_type", "dict_type", "mapping_type"}:
            message = "Input should be a mapping (`key: value` lines)"
        if details["type"] == "tuple_type":
            message = f"Input should be a list, such as {example(path)}"
        if message.startswith("Input "):
            message = f"{dotted} {message.removeprefix('Input ')}"
        elif dotted:
            message = f"{dotted}: {message}"
        is_section = isinstance(value, Mapping) and section_at(path) is not None
        is_told = isinstance(value, str) and repr(value) in message
        return f"{self._origin(path)}{message}" + ("" if is_told or is_section else f"; found {value!r:.80}")


def _not_in_effect(name: str, terms: Any, losses: Mapping[str, Any]) -> str:
    """Returns what is wrong with setting `terms` of a loss that is not among `losses`, and both ways out."""
    field = ".".join(_LOSSES)
    control, beside = (f"--set '{field}={inline(given)}'" for given in ({name: terms}, {**losses, name: terms}))
    others = [other for other in losses if other != "none"]
    if not others:
        return f"{field}.{name} is not in effect (no loss is); write {control}"
    verb, place, all_of_them = ("is", "its place", "both") if len(others) == 1 else ("are", "their place", "all")
    return (
        f"{field}.{name} is not in effect ({', '.join(others)} {verb}); write {control} to take {place}, or {beside} "
        f"for {all_of_them}"
    )


def _path(details: ErrorDetails) -> KeyPath:
    return tuple(str(part) for part in details["loc"])


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """Returns the mapping in a YAML file, and the line of each key (from 1)."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}; check --config") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    try:
        return read_mapping(text, origin=str(path))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: is no YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: is no YAML: {' '.join(str(error).split())}") from None
