"""Reads a `SearchConfig` from defaults, a YAML file, flags and `--set`, and writes it back.

Later layers win: defaults < YAML < flags < `--set`. A section (`data`, `recipe`, ...) is merged key by key into the
lower layers. A free mapping (`recipe.losses`, `teacher.arguments`) replaces the one below as a whole: whoever lists two
losses does not want a third from the defaults. `--set recipe.losses.dist.temperature=2` edits one value inside the
mapping in effect; it cannot add a loss that is not in effect, because it is unclear whether the loss should replace the
others or join them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from nas_distill.config.fields import booleans_for_numbers, example, hint, section_at
from nas_distill.config.parsing.yaml_text import MAX_BYTES, KeyPath, dump_yaml, inline_yaml, parse_yaml
from nas_distill.config.search import PLUGIN_NAME, SearchConfig
from nas_distill.error_codes import CODES
from nas_distill.errors import ConfigError
from nas_distill.user_code import import_modules

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_LOSSES: KeyPath = ("recipe", "losses")


def load_config(
    yaml_path: Path | None = None,
    overrides: Sequence[str] = (),
    flags: Mapping[str, object] | None = None,
    *,
    flag_names: Mapping[str, str] | None = None,
) -> SearchConfig:
    """Return the configuration that results from all layers.

    Args:
        yaml_path: A YAML file; None for none.
        overrides: `KEY=VALUE` texts with a dotted key and a YAML value, applied in order (`--set`).
        flags: Dotted key -> value; None as a value means that the flag was not given.
        flag_names: Dotted key -> spelling of the flag, for errors; `--KEY` by default.

    Raises:
        ConfigError: A file cannot be read or parsed, or values break rules. The first broken rule gives `code` and
            `field`; the others are in `others`.
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


def config_from_mapping(
    values: Mapping[str, object],
    *,
    base: SearchConfig | Mapping[str, object] | str | Path | None = None,
    origin: str,
) -> SearchConfig:
    """Return the configuration of a nested mapping, such as `{"budget": {"trials": 8}}`, over a base.

    Args:
        values: Sections and keys, nested as in the YAML file.
        base: Layer below `values`: a configuration, a mapping or a YAML file. Default: the defaults.
        origin: Name of the mappings in errors.

    Raises:
        ConfigError: A file cannot be read, a key is unknown or values break rules; see `load_config`.
    """
    if isinstance(base, SearchConfig) and not values:
        return base
    draft = _Draft()
    if isinstance(base, SearchConfig):
        lower = base.model_dump(mode="json")
        if "study_name" not in base.resources.model_fields_set:
            del lower["resources"]["study_name"]  # see `_Draft`
        draft.put((), lower, {})
    elif isinstance(base, Mapping):
        draft.put((), base, {(name,): origin for name in base})
    elif base is not None:
        draft.put_file(Path(base))
    draft.put((), values, {(name,): origin for name in values})
    return draft.validated()


def dump_config(config: SearchConfig) -> str:
    """Return YAML that `load_config` reads back as an equal configuration."""
    return dump_yaml(config.model_dump(mode="json"))


def parse_assignment(text: str, *, flag: str, example: str = "recipe.epochs=20") -> tuple[KeyPath, Any]:
    """Return the key path and the value of `a.b=c`; the value is read as YAML, so JSON works too.

    Args:
        text: What the user wrote.
        flag: Flag that the text was given to, for errors.
        example: A correct text, for errors.

    Raises:
        ConfigError: There is no `=`, a part of the key is empty, or the value is not valid YAML.
    """
    dotted, equals, source = text.partition("=")
    path = tuple(part.strip() for part in dotted.split("."))
    if not equals or not all(path):
        raise ConfigError(
            f"'{text}' is not KEY=VALUE; write, for example, {flag} {example}",
            code="config.not_an_assignment",
            field=flag,
        )
    value, _ = parse_yaml(source, origin=f"{flag} {text}", is_file=False)
    return path, value


class _Draft:
    """Values of all layers so far, and where each was written."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = SearchConfig().model_dump(mode="json")
        # Left unset unless the user names it: the service then gives the study a unique name in a shared storage.
        del self._values["resources"]["study_name"]
        self._origins: dict[KeyPath, str] = {}

    def put_file(self, path: Path) -> None:
        """Merge a YAML file."""
        values, lines = _read_file(path)
        self.put((), values, {key: f"{path}:{line}" for key, line in lines.items()})

    def put(self, path: KeyPath, value: Any, origins: Mapping[KeyPath, str]) -> None:
        """Set the value at `path`; sections are merged, everything else is replaced.

        Args:
            path: Keys from the root.
            value: The new value.
            origins: Where `path` and the keys below it were written.
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
        """Check that a key below `recipe.losses` belongs to a loss that the recipe has so far.

        Args:
            path: Keys from the root.
            value: The new value.
            origin: Where it was written.

        Raises:
            ConfigError: The key would add a loss, and it is unclear whether the loss replaces those in effect.
        """
        inside = path[len(_LOSSES) :]
        recipe = self._values[_LOSSES[0]]
        losses = recipe.get(_LOSSES[1]) if isinstance(recipe, Mapping) else recipe
        in_effect = {} if losses is None else losses
        if not inside or path[: len(_LOSSES)] != _LOSSES or not isinstance(in_effect, Mapping):
            return
        name, *parameters = inside
        # A value that is not a mapping is not a loss; validation reports it.
        if name not in in_effect and (parameters or isinstance(value, Mapping)):
            terms = reduce(lambda below, key: {key: below}, reversed(parameters), value)
            raise _error((*_LOSSES, name), _not_in_effect(name, terms, in_effect), "config.loss_not_in_effect", origin)

    def _parent_of(self, path: KeyPath, origins: Mapping[KeyPath, str]) -> dict[str, Any]:
        parent = self._values
        for depth, key in enumerate(path[:-1], 1):
            child = parent.get(key)
            if child is None:
                child = {}
            elif not isinstance(child, Mapping):
                raise _error(
                    path[:depth],
                    f"is a value ({child!r:.60}), not a section; set '{'.'.join(path[:depth])}' itself",
                    "config.not_a_section",
                    origins.get(path),
                )
            # Copied on the way down: values from flags and YAML anchors are shared and must not change.
            parent[key] = dict(child)
            parent = parent[key]
        return parent

    def validated(self) -> SearchConfig:
        """Return the configuration.

        Raises:
            ConfigError: Rules are broken.
        """
        misplaced = tuple(booleans_for_numbers(self._values))
        errors = [
            _error(path, "should be a number, not true or false", "config.invalid_value", self._origin(path))
            for path in misplaced
        ]
        plugins = self._values.get("plugins")
        if isinstance(plugins, list | tuple):  # first, because they register names that validation looks up
            import_modules(name for name in plugins if isinstance(name, str) and PLUGIN_NAME.match(name))
        try:
            config = SearchConfig.model_validate(self._values)
        except ValidationError as error:
            others = [details for details in error.errors(include_url=False) if _path(details) not in misplaced]
            errors += [self._explained(details) for details in others]
        except ConfigError as error:  # raised by a validator, so pydantic passes it on
            path = tuple((error.field or "").split("."))
            errors.append(_error(path, str(error.args[0]), error.code, self._origin(path)))
        if errors:
            raise ConfigError(errors[0].args[0], code=errors[0].code, field=errors[0].field, others=tuple(errors[1:]))
        return config

    def _origin(self, path: KeyPath) -> str | None:
        for length in range(len(path), 0, -1):
            if path[:length] in self._origins:
                return self._origins[path[:length]]
        return next((origin for key, origin in self._origins.items() if path and key[: len(path)] == path), None)

    def _explained(self, details: ErrorDetails) -> ConfigError:
        context = details.get("ctx") or {}
        path = tuple(str(context["field"]).split(".")) if "field" in context else _path(details)
        origin = self._origin(path)
        if details["type"] == "extra_forbidden":
            return _error(path, f"unknown key; {hint(path)}", "config.unknown_key", origin)
        if details["type"] in CODES:  # a rule with a code of its own, see `config.rules`
            return _error(path, details["msg"], details["type"], origin)
        message, value = details["msg"].removeprefix("Value error, ").removeprefix("Input "), details["input"]
        message = message.partition(", unable to ")[0]  # "should be a valid integer, unable to parse string ..."
        if details["type"] in {"model_type", "dict_type", "mapping_type"}:
            message = "should be a mapping (`key: value` lines)"
        if details["type"] == "tuple_type":
            message = f"should be a list, such as {example(path)}"
        is_section = isinstance(value, Mapping) and section_at(path) is not None
        is_shown = isinstance(value, str) and repr(value) in message
        found = "" if is_shown or is_section else f"; found {value!r:.80}"
        return _error(path, message + found, "config.invalid_value", origin)


def _error(path: KeyPath, message: str, code: str, origin: str | None) -> ConfigError:
    """Return an error whose message ends with the place where the value was written."""
    place = "" if origin is None else f" (in {origin})"
    return ConfigError(message + place, code=code, field=".".join(path) or None)


def _not_in_effect(name: str, terms: Any, losses: Mapping[str, Any]) -> str:
    """Return what is wrong with setting `terms` of a loss that is not among `losses`, and both fixes."""
    field = ".".join(_LOSSES)
    control, beside = (f"--set '{field}={inline_yaml(given)}'" for given in ({name: terms}, {**losses, name: terms}))
    others = [other for other in losses if other != "none"]
    if not others:
        return f"not in effect (no loss is); write {control}"
    verb, all_of_them = ("is", "both") if len(others) == 1 else ("are", "all")
    return (
        f"not in effect ({', '.join(others)} {verb}); write {control} to replace {', '.join(others)}, or {beside} for "
        f"{all_of_them}"
    )


def _path(details: ErrorDetails) -> KeyPath:
    return tuple(str(part) for part in details["loc"])


def _read_file(path: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """Return the mapping in a YAML file, and the line of each key (from 1)."""
    text = read_short_text(path)
    value, lines = parse_yaml(text, origin=str(path))
    if value is not None and not isinstance(value, dict):
        raise ConfigError("not a mapping; write `key: value` lines", code="config.not_a_mapping", field=str(path))
    return value or {}, lines


def read_short_text(path: Path) -> str:
    """Return the UTF-8 text in a file that a person writes.

    Raises:
        ConfigError: The file cannot be read, is not UTF-8, or is too large.
    """
    try:
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            raise ConfigError(
                f"has {path.stat().st_size:,} bytes, more than {MAX_BYTES:,}; give a configuration file",
                code="config.yaml_too_large",
                field=str(path),
            )
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot be read: {error.strerror or error}; check the path", code="config.unreadable", field=str(path)
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"not UTF-8 text (byte {error.start}); save it as UTF-8", code="config.not_utf8", field=str(path)
        ) from None
