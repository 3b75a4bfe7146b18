"""Sections of the report on a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from nas_distill.analysis.decision.records import Headline
    from nas_distill.report.sections.section import Section


def make_console() -> Console:
    """Return a console on standard output. A pipe gets a fixed width at which tables do not wrap."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def print_headline(console: Console, headline: Headline) -> None:
    """Print the recommendation of a run and the command of the next step."""
    console.print(Text(headline.sentence, style="bold"))
    if headline.command is not None:
        console.print(Text(headline.command, overflow="ignore", no_wrap=True))


def print_section(console: Console, section: Section) -> None:
    """Print a section with its table and notes."""
    console.print(Text(section.title, style="bold"))
    for text in section.lead:
        console.print(Text(text))
    if section.lines:
        table = Table()
        for title in section.columns:
            table.add_column(title, justify="left" if title in section.texts else "right")
        for index, line in enumerate(section.lines):
            table.add_row(*(Text(cell) for cell in line), style="bold" if index in section.marked else None)
        console.print(table)
    for text in (*section.failures, *section.notes):
        console.print(Text(text))
