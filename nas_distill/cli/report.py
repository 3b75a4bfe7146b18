"""`nas_distill report RUN`: writes the report of a run and prints its front."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from nas_distill.report import ChainSection, FoldSection, ReportContent, ReportPaths


@click.command(short_help="Write a run's report and print its Pareto front.")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
def command(run: Path) -> None:
    """Writes RUN/report/ and prints the Pareto front, the picks and the page's path.

    RUN is the folder of a search, finished or not. Only its configuration, data manifest, study, choice of assistants
    and results of folds are read, so images, teacher weights and knowledge may be gone.
    """
    from nas_distill.report import load_content, write_report
    from nas_distill.store import RunDirectory

    directory = RunDirectory(run).existing()
    content = load_content(directory)
    print_report(content, write_report(content, directory.report))


def print_report(content: ReportContent, paths: ReportPaths) -> None:
    """Prints a report's front, picks and path to standard output.

    Args:
        content: What the report says.
        paths: Where it lies.
    """
    from rich.table import Table
    from rich.text import Text

    from nas_distill.analysis.picks import describe
    from nas_distill.cli.sections import make_console, print_section
    from nas_distill.report import chain_section, fold_section, front_table, headline
    from nas_distill.report.findings import confirmed

    console = make_console()
    console.print(Text(headline(content), style="bold"))
    front = front_table(content)
    if front:
        table = Table(title=f"Pareto front: {len(front)} of {content.counts.complete} students", title_justify="left")
        for title in front[0]:
            table.add_column(title, justify="left" if title in {"Student", "Picked as"} else "right")
        for row in front:
            table.add_row(*(Text(cell) for cell in row.values()), style="bold" if row["Picked as"] else None)
        console.print(table)
        for pick in content.picks:
            text = Text.assemble((pick.title, "bold"), f": {describe(pick, content.front)}. {pick.sentence}")
            console.print(text)
    _print_chain(console, chain_section(content))
    _print_folds(console, fold_section(content))
    for section in confirmed(content):
        print_section(console, section)
    console.print(Text(content.counts.sentence()))
    click.echo(f"report: {paths.html}")


def _print_chain(console: Console, section: ChainSection | None) -> None:
    """Prints who taught whom and what that gained; nothing when no assistants were asked for."""
    from rich.table import Table
    from rich.text import Text

    from nas_distill.report import CHAIN_COLUMNS

    if section is None:
        return
    console.print(Text(section.title, style="bold"))
    for text in section.chains:
        console.print(Text(text))
    if section.lines:
        table = Table()
        for title in CHAIN_COLUMNS:
            table.add_column(title, justify="left" if title == "Student" else "right")
        for line in section.lines:
            table.add_row(*(Text(cell) for cell in line))
        console.print(table)
    for text in section.notes:
        console.print(Text(text))


def _print_folds(console: Console, section: FoldSection | None) -> None:
    """Prints what cross-validation says of the picks; nothing when none was asked for."""
    from rich.table import Table
    from rich.text import Text

    from nas_distill.report import FOLD_COLUMNS

    if section is None:
        return
    table = Table(title=section.title, title_justify="left")
    for title in FOLD_COLUMNS:
        table.add_column(title, justify="left" if title == "Picked as" else "right")
    for line in section.lines:
        table.add_row(*(Text(cell) for cell in line))
    if section.lines:
        console.print(table)
    for text in (*section.failures, *section.notes):
        console.print(Text(text))
