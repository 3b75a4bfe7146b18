"""What all trials of a study have in common besides objectives and teacher: data, space, initial weights, recipes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import PositiveInt

from nas_distill.config import SearchConfig
from nas_distill.records.base import FrozenTexts, Record

_SHOWN_DIGITS = 12


class Fingerprint(Record):
    """What all trials of a study have in common. A study is not continued with another fingerprint.

    Attributes:
        data_id: Digest of data and splits.
        space: Name of the search space.
        space_source: Digest of the file and function of the space, independent of the folder.
        recipe: Source of the recipes (`space.recipe`).
        recipe_source: Digest of the file and function of the recipes; empty for the fixed recipe of the configuration.
        epochs: Full fidelity, epochs per student.
        initial_weights: Weights that students may start from (`space.initial_weights`).
        settings: Everything else in the configuration that changes how a student trains: dotted key -> JSON.
    """

    data_id: str
    space: str
    space_source: str
    recipe: str
    recipe_source: str
    epochs: PositiveInt
    initial_weights: tuple[str, ...]
    settings: FrozenTexts = {}  # noqa: RUF012 - pydantic copies it


def training_settings(config: SearchConfig) -> dict[str, str]:
    """Return the keys of a configuration that change how a student trains, with their values as JSON.

    Keys that decide which students are trained, and for how long the search goes on, may change with `--resume`.
    """
    values = config.model_dump(mode="json")
    kept = {f"recipe.{key}": value for key, value in values["recipe"].items() if key != "epochs"}
    kept |= {f"views.{key}": value for key, value in values["views"].items()}
    kept |= {"seed": values["seed"]} | {f"teacher.{key}": values["teacher"][key] for key in ("online", "top_k")}
    return {key: json.dumps(value, sort_keys=True) for key, value in kept.items()}


def source_digest(path: Path, name: str) -> str:
    """Return the digest of a function's file and name.

    Args:
        path: File of the function. An empty path, for no file, has an empty digest.
        name: Name as the user wrote it: `FILE.py[:function]` or a shipped name.
    """
    if path == Path():
        return ""
    function = name.rpartition(".py")[2] or ":"
    return hashlib.sha256(function.encode() + b"\0" + path.read_bytes()).hexdigest()[:_SHOWN_DIGITS]


def differences(was: Fingerprint, now: Fingerprint) -> tuple[str, ...]:
    """Return one clause per difference, with the old and the new value."""
    clauses = []
    if was.data_id != now.data_id:
        clauses.append(f"on data {was.data_id}, now {now.data_id}")
    if was.epochs != now.epochs:
        clauses.append(f"with {was.epochs} epochs per student (recipe.epochs), now {now.epochs}")
    if was.initial_weights != now.initial_weights:
        old, new = (", ".join(one.initial_weights) for one in (was, now))
        clauses.append(f"with initial weights {old} (space.initial_weights), now {new}")
    clauses += [
        f"with {key} = {was.settings.get(key, 'unset')}, now {now.settings.get(key, 'unset')}"
        for key in sorted(was.settings.keys() | now.settings.keys())
        if was.settings.get(key) != now.settings.get(key)
    ]
    return (*clauses, *changed_sources(was, now))


def changed_sources(was: Fingerprint, now: Fingerprint) -> tuple[str, ...]:
    """Return one clause per changed function of the user: space or recipes."""
    pairs = (
        ("in space", was.space, was.space_source, now.space, now.space_source),
        ("with recipes from", was.recipe, was.recipe_source, now.recipe, now.recipe_source),
    )
    return tuple(
        f"{what} {old} (source {old_source or 'none'}), now {new} (source {new_source or 'none'})"
        for what, old, old_source, new, new_source in pairs
        if old_source != new_source
    )
