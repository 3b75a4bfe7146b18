"""The list and the descriptions that `nas_distill losses` prints."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable

import click

from nas_distill.errors import ConfigError, nearest_names
from nas_distill.losses.entries import DEPTH, STANDARDISE, WEIGHT, LossEntry, Need
from nas_distill.losses.registry import LOSSES, NONE


def print_losses() -> None:
    """Print one row per loss: its name, the teacher outputs it needs, and its paper."""
    rows = [("name", "needs", "paper"), (NONE, "labels", "no teacher: the control")]
    for name in LOSSES.names():
        entry = LOSSES.get(name)
        rows.append((name, ", ".join(_needs(entry)), entry.paper))
    _print_table(rows)


def print_loss(name: str) -> None:
    """Print the equation, paper, needs, example and parameters of a loss.

    Raises:
        ConfigError: No loss has this name.
    """
    if name == NONE:
        click.echo("none: the control, trained on the labels alone\n")
        click.echo("example   --set 'recipe.losses={}' --set recipe.label_weight=1")
        return
    if name not in LOSSES.names():
        known = (NONE, *LOSSES.names())  # the registry does not list the control
        raise ConfigError(
            f"no loss is called '{name}'; {nearest_names(name, known)}", code="cli.unknown_loss", field="NAME"
        )
    entry = LOSSES.get(name)
    click.echo(f"{name}: {entry.equation}\n")
    click.echo(f"paper     {entry.paper}")
    click.echo(f"needs     {'; '.join(need.meaning for need in _needs(entry))}")
    for line in _required_settings(entry):
        click.echo(f"          {line}")
    click.echo(f"example   --set 'recipe.losses={{{name}: {{}}}}' --set recipe.label_weight={entry.label_weight:g}\n")
    meanings = _documented_parameters(entry)
    rows = [("parameter", "default", "must be", "meaning")]
    rows += [(key, f"{value:g}", entry.rules[key].text, meanings.get(key, "")) for key, value in entry.defaults.items()]
    _print_table(rows)


def _required_settings(entry: LossEntry) -> list[str]:
    """Return the settings that the loss requires besides `recipe.losses`, one line each."""
    lines = []
    if Need.FEATURES in entry.needs:
        lines.append("requires teacher.online=true (--online-teacher)")
    if Need.EMBEDDING in entry.needs:
        lines.append("with --recipe search, requires teacher.embeddings=true or teacher.online=true (--online-teacher)")
    if entry.uses_teacher_head:
        lines.append("the student predicts with the teacher's classifier; cannot be used with --recipe search")
    return lines


def _needs(entry: LossEntry) -> list[Need]:
    return [need for need in Need if need in entry.needs]


def _documented_parameters(entry: LossEntry) -> dict[str, str]:
    """Return the meaning of each parameter, read from the section "Args" of the docstring of the loss."""
    text = inspect.getdoc(entry.learned or entry.function) or ""
    section = re.split(r"\n\n(?=\w+:\n)", text.partition("Args:\n")[2])[0]
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    meanings = {name: " ".join(meaning.split()) for name, meaning in found}
    return {
        **meanings,
        WEIGHT: "Weight of this loss in the sum.",
        STANDARDISE: "1 standardises the logits (z-scores) first (Sun et al. 2024, arXiv 2403.01427).",
        DEPTH: "Fraction of the stages of student and teacher after which the feature maps are compared.",
    }


def _print_table(rows: Iterable[tuple[str, ...]]) -> None:
    table = list(rows)
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
