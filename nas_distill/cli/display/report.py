"""A report on a terminal: its headline, front, picks and retrained students."""

from __future__ import annotations

import click
from rich.table import Table
from rich.text import Text

from nas_distill.cli.display.sections import make_console, print_headline, print_section
from nas_distill.report import Report, ReportContent, front_table, pick_text
from nas_distill.report.sections.findings import confirmed_students, retrained_students


def print_report(report: Report) -> None:
    """Print the headline, the front, the picks, retrained students and the path of the page."""
    content, console = report.content, make_console()
    print_headline(console, content.decision.headline)
    if len(content.front.members):
        console.print(_front(content))
        for pick in content.picks:
            console.print(Text.assemble((pick.title, "bold"), f": {pick_text(pick, content.front)}"))
    for section in retrained_students(content):
        print_section(console, section)
    console.print(Text(content.counts.sentence()))
    click.echo(f"report: {report.paths.html}")


def print_confirmed(report: Report) -> None:
    """Print the confirmed students and the path of the page."""
    console = make_console()
    for section in confirmed_students(report.content):
        print_section(console, section)
    click.echo(f"report: {report.paths.html}")


def _front(content: ReportContent) -> Table:
    rows = front_table(content)
    table = Table(title=f"Pareto front: {len(rows)} of {content.counts.complete} students", title_justify="left")
    for title in rows[0]:
        table.add_column(title, justify="left" if title in {"Student", "Starts from", "Picked as"} else "right")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row.values()), style="bold" if row["Picked as"] else None)
    return table
