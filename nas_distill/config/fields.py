"""The fields of `SearchConfig` by dotted key: their types, and suggestions for unknown keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from nas_distill.config.parsing.yaml_text import KeyPath, inline_yaml
from nas_distill.config.search import SearchConfig
from nas_distill.errors import nearest_names
from nas_distill.records.base import Record


def _sections(model: type[BaseModel], path: KeyPath = ()) -> dict[KeyPath, type[BaseModel]]:
    found = {path: model}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Record):
            found.update(_sections(field.annotation, (*path, name)))
    return found


_SECTIONS = _sections(SearchConfig)


def sections() -> Mapping[KeyPath, type[BaseModel]]:
    """Return the class of every section by its path; the root's path is empty."""
    return _SECTIONS


def section_at(path: KeyPath) -> type[BaseModel] | None:
    """Return the class of the section at `path`; None for a value and for an unknown path."""
    return _SECTIONS.get(path)


def field_at(path: KeyPath) -> FieldInfo | None:
    """Return the field at `path`, a value or a section; None for an unknown path."""
    section = section_at(path[:-1])
    return None if section is None else section.model_fields.get(path[-1])


def all_keys() -> Iterator[KeyPath]:
    """Yield the path of every field that is not a section."""
    for path, section in _SECTIONS.items():
        yield from ((*path, name) for name in section.model_fields if (*path, name) not in _SECTIONS)


def hint(path: KeyPath) -> str:
    """Return a suggestion for an unknown key: the same key in another section, or the nearest key of its own."""
    homes = [".".join(section) for section in _SECTIONS if path[-1] in _SECTIONS[section].model_fields]
    if homes:
        where = " or ".join(f"'{home}.{path[-1]}'" if home else f"'{path[-1]}'" for home in homes)
        return f"did you mean {where}?"
    parent = section_at(path[:-1])
    return nearest_names(path[-1], parent.model_fields if parent else ())


def example(path: KeyPath) -> str:
    """Return a valid list for the field at `path`, as YAML."""
    field = field_at(path)
    examples = field.examples if field is not None else None
    return inline_yaml(list((examples or [("a", "b")])[0]))


def booleans_for_numbers(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield the path of each true or false where a number is expected; pydantic would read them as 1 and 0.

    Args:
        value: The value at `path`.
        path: Keys from the root; positions in lists count as keys.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from booleans_for_numbers(item, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from booleans_for_numbers(item, (*path, str(index)))
    elif isinstance(value, bool) and _is_number(path):
        yield path


def _is_number(path: KeyPath) -> bool:
    """Return whether the value at `path`, or inside the field that holds it, is a number and never true or false."""
    ends = (end for end in range(len(path), 0, -1) if field_at(path[:end]) is not None)
    end = next(ends, 0)
    field = field_at(path[:end]) if end else None
    kinds = set() if field is None else _kinds(field.annotation, len(path) - end)
    return bool(kinds & {int, float}) and bool not in kinds


def _kinds(annotation: Any, depth: int) -> set[Any]:
    """Return the plain types that an annotation allows, `depth` levels inside its mappings and lists."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kinds(inner[0], depth)
    if origin in {Union, UnionType}:
        return {kind for one in inner for kind in _kinds(one, depth)}
    if origin in {Mapping, tuple} and depth:
        return _kinds(inner[1] if origin is Mapping else inner[0], depth - 1)
    return set() if depth else {annotation}
