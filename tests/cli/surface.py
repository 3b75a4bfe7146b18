"""The verbs and options of the command line, one line each; `python -m tests.cli.surface` writes the snapshot anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from nas_distill.cli import VERBS, command

SNAPSHOT = Path(__file__).with_name("surface.txt")


def surface() -> str:
    """Return the sorted options and arguments of every verb."""
    lines = [line for verb in VERBS for line in _lines(verb, command.get_command(click.Context(command), verb))]
    return "".join(f"{line}\n" for line in lines)


def _lines(name: str, verb: click.Command | None) -> Iterator[str]:
    assert verb is not None
    if isinstance(verb, click.Group):
        for child in sorted(verb.commands):
            yield from _lines(f"{name} {child}", verb.commands[child])
        return
    options = sorted(one for parameter in verb.params for one in (*parameter.opts, *parameter.secondary_opts))
    yield name
    yield from (f"{name} {option}" for option in options)


if __name__ == "__main__":
    SNAPSHOT.write_text(surface(), encoding="utf-8")
