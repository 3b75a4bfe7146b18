"""Describe in what the recipes of two students differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nas_distill.analysis.diagnosis.students import Students
from nas_distill.analysis.effects.losses_by_size import loss_label
from nas_distill.analysis.trials.cells import parse_losses, parse_recipe_fields


def recipes_differ(students: Students, first: int, second: int) -> bool:
    """Whether two students are known to have been trained by different recipes."""
    losses, recipes = students.texts["losses"], students.texts["recipe"]
    if losses[first] != losses[second]:
        return True
    return bool(recipes[first] and recipes[second] and recipes[first] != recipes[second])


def distinguishing_labels(students: Students, first: int, second: int) -> tuple[str, str]:
    """Return a label for each of two recipes that shows in what they differ.

    The labels name the losses. If those are the same, they name the losses' parameters; if those are the same too, the
    other fields of the recipe. Examples: "kd" and "rkd"; "kd.temperature 2" and "kd.temperature 4"; "learning_rate
    0.001" and "learning_rate 0.1".
    """
    losses = [students.texts["losses"][index] for index in (first, second)]
    if losses[0] == losses[1]:
        return _values(*(_other_choices(students, index) for index in (first, second)))
    labels = loss_label(losses[0]), loss_label(losses[1])
    return labels if labels[0] != labels[1] else _values(*(_loss_parameters(text) for text in losses))


def other_differences(students: Students, first: int, second: int) -> str:
    """Return the fields besides the losses in which two recipes differ; empty if the losses are the same."""
    losses, recipes = students.texts["losses"], students.texts["recipe"]
    if losses[first] == losses[second] or not recipes[first] or not recipes[second]:
        return ""
    return ", ".join(_changed(_other_choices(students, first), _other_choices(students, second)))


def _other_choices(students: Students, index: int) -> dict[str, Any]:
    recipe = parse_recipe_fields(students.texts["recipe"][index])
    return {name: value for name, value in recipe.items() if name != "losses"}


def _loss_parameters(losses: str) -> dict[str, Any]:
    return {
        f"{loss}.{name}": value
        for loss, parameters in parse_losses(losses).items()
        for name, value in parameters.items()
    }


def _values(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[str, str]:
    names = _changed(first, second)
    one, other = (", ".join(f"{name} {_text(side.get(name))}" for name in names) for side in (first, second))
    return one, other


def _changed(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in {*first, *second} if first.get(name) != second.get(name))


def _text(value: object) -> str:
    if value is None:
        return "not set"
    return f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
