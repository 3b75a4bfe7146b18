"""Helpers for configurations that are rejected."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from nas_distill.config.loading import load_config
from nas_distill.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "search.yaml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def rejection(path: Path | None = None, *overrides: str, **flags: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides, flags)
    return caught.value


def codes_and_fields(error: ConfigError) -> set[tuple[str, str | None]]:
    return {(one.code, one.field) for one in (error, *error.others)}
