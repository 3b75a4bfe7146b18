"""`nas_distill report RUN`: writes the report of a run and prints its front."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nas_distill.report import ReportContent, ReportPaths


@click.command(short_help="Write a run's report and print its Pareto front.")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
def command(run: Path) -> None:
    """Writes RUN/report/ and prints the Pareto front, the picks and the page's path.

    RUN is the folder of a search, finished or not. Only its configuration, data manifest, study, choice of assistants,
    and results of folds and of confirm are read, so images, teacher weights and knowledge may be gone.
    """
    from nas_distill.report import load_content, write_report
    from nas_distill.run_directory.layout import RunDirectory

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

    from nas_distill.analysis.front.picks import describe
    from nas_distill.cli.display.sections import make_console, print_section
    from nas_distill.report import front_table, headline
    from nas_distill.report.sections.findings import measured_again

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
    for section in measured_again(content):
        print_section(console, section)
    console.print(Text(content.counts.sentence()))
    click.echo(f"report: {paths.html}")
