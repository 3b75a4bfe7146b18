"""docs/cli.md against the configuration: every key, with its default."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from nas_distill.config import SearchConfig
from nas_distill.config.fields import all_keys

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
KEYS = [".".join(key) for key in all_keys()]
OTHERWISE = {"resources.study_name": "one that no other run has"}
"""Keys whose default is not what a run has without them."""


def rows() -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Yields keys and defaults of each row of the table of keys without a flag, abbreviated keys in full."""
    table = PAGE.read_text(encoding="utf-8").partition("Some keys have no flag")[2].partition("## `teacher`")[0]
    for first, default in re.findall(r"^\| (`.*?) \| (.*?) ?\| .*\|$", table, re.MULTILINE):
        names = re.findall(r"`([\w.*]+)`", first)
        section = names[0].rpartition(".")[0]
        keys = tuple(f"{section}{name}" if name.startswith(".") else name for name in names)
        defaults = tuple(default.split(", "))
        yield keys, defaults * len(keys) if len(defaults) == 1 else defaults


def written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, int | float) else ", ".join(value)  # of losses, their names


@pytest.mark.parametrize(("keys", "defaults"), list(rows()), ids=lambda value: value[0])
def test_a_documented_default_is_that_of_the_configuration(keys: tuple[str, ...], defaults: tuple[str, ...]) -> None:
    for key, default in zip(keys, defaults, strict=False):
        value: Any = reduce(getattr, key.split("."), SearchConfig())
        if key in OTHERWISE:
            assert default == OTHERWISE[key]
        elif isinstance(value, str):
            assert default == value
        elif value is not None:  # else the page says what is done instead
            assert default == written(value)


def test_every_key_is_documented() -> None:
    flags = set(re.findall(r"^\| `--.* \| `([\w.]+)` \| .*\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    documented = flags | {key for keys, _ in rows() for key in keys}
    for sections in ("recipe.adaptive.", "teacher.recipe."):  # docs/adaptive.md, and the keys of a recipe once more
        documented |= {key for key in KEYS if key.startswith(sections)}
    assert "recipe.adaptive.*" in documented
    assert set(KEYS) - documented == set()
    assert documented - set(KEYS) == {"recipe.adaptive.*"}
