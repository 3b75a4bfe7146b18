"""`nas_distill losses`: what a recipe can distil with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from nas_distill.errors import ConfigError, nearest_names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nas_distill.losses.registry import LossEntry, Need


@click.group(invoke_without_command=True, short_help="List and show distillation losses.")
@click.pass_context
def command(context: click.Context) -> None:
    """Lists and shows distillation losses."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@command.command(name="list")
def list_command() -> None:
    """Lists all losses with what they need and where they come from."""
    from nas_distill.losses.registry import LOSSES, NONE

    rows = [("name", "needs", "paper"), (NONE, "labels", "the control: no teacher")]
    for name in LOSSES.names():
        entry = LOSSES.get(name)
        rows.append((name, _needs(entry), entry.paper))
    _print_table(rows)


@command.command(name="show", short_help="Show one loss: equation, paper, parameters, example.")
@click.argument("name")
def show_command(name: str) -> None:
    """Shows the loss NAME: its equation and paper, what it needs, its parameters, and how a search takes it."""
    from nas_distill.losses.registry import LOSSES, NONE

    if name == NONE:
        click.echo("none: the control, trained on the labels alone\n")
        click.echo("example   --set 'recipe.losses={}' --set recipe.label_weight=1")
        return
    if name not in LOSSES.names():
        known = (NONE, *LOSSES.names())  # the registry does not list the control
        raise ConfigError(f"recipe.losses: no loss is called '{name}'; {nearest_names(name, known)}")
    entry = LOSSES.get(name)
    click.echo(f"{name}: {entry.equation}\n")
    click.echo(f"paper     {entry.paper}")
    click.echo(f"needs     {'; '.join(need.meaning for need in _in_order(entry))}")
    for line in _asks_of_the_search(entry):
        click.echo(f"          {line}")
    click.echo(f"example   --set 'recipe.losses={{{name}: {{}}}}' --set recipe.label_weight={entry.label_weight:g}\n")
    meanings = _documented_parameters(entry)
    rows = [("parameter", "default", "must be", "meaning")]
    rows += [(key, f"{value:g}", entry.rules[key].text, meanings.get(key, "")) for key, value in entry.defaults.items()]
    _print_table(rows)


def _asks_of_the_search(entry: LossEntry) -> list[str]:
    """Returns what must be configured for the loss, beside `recipe.losses`, one line each."""
    from nas_distill.losses.registry import Need

    lines = []
    if Need.FEATURES in entry.needs:
        lines.append("of the search: needs teacher.online=true (--online-teacher)")
    if Need.EMBEDDING in entry.needs:
        lines.append("of the search: nothing (embeddings are stored for a recipe that compares them); with a searched")
        lines.append("recipe: needs teacher.embeddings=true, or teacher.online=true (--online-teacher)")
    if entry.uses_teacher_head:
        lines.append("the student answers through the teacher's classifier; not with a searched recipe (--recipe)")
    return lines


def _in_order(entry: LossEntry) -> list[Need]:
    from nas_distill.losses import registry

    return [need for need in registry.Need if need in entry.needs]


def _needs(entry: LossEntry) -> str:
    return ", ".join(_in_order(entry))


def _documented_parameters(entry: LossEntry) -> dict[str, str]:
    """Returns what each parameter means, from the section "Args" of the docstring that names it."""
    import inspect

    from nas_distill.losses.entries import DEPTH
    from nas_distill.losses.registry import STANDARDISE, WEIGHT

    text = inspect.getdoc(entry.learned or entry.function) or ""
    section = re.split(r"\n\n(?=\w+:\n)", text.partition("Args:\n")[2])[0]
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    meanings = {name: " ".join(meaning.split()) for name, meaning in found}
    return {
        **meanings,
        WEIGHT: "Of this loss in the sum.",
        STANDARDISE: "1 takes z-scores of the logits (Sun et al. 2024, arXiv 2403.01427).",
        DEPTH: "Share of the stages, of student and teacher, after which the feature map is taken.",
    }


def _print_table(rows: Iterable[tuple[str, ...]]) -> None:
    table = list(rows)
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
