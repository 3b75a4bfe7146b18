"""`nas_distill report RUN`: write the report of a run and print its front."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Write the report of a run and print its Pareto front.")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
def command(run: Path) -> None:
    """Write RUN/report/ and print the Pareto front, the picks and the path of the page.

    The search may still be running. The command reads only the run's configuration, records and study, so it needs no
    images, teacher weights or GPU.
    """
    from nas_distill.cli.display.report import print_report
    from nas_distill.report import build_report
    from nas_distill.run_directory.layout import RunDirectory

    print_report(build_report(RunDirectory(run)))
