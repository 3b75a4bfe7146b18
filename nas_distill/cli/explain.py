"""`nas_distill explain RUN TRIAL`: explain the result of one student."""

from __future__ import annotations

from pathlib import Path

import click

from nas_distill.cli.options import TRIAL_NUMBER


@click.command(short_help="Explain one student: its result, the likely reason, and what to try.")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("trial", metavar="TRIAL", type=TRIAL_NUMBER)
def command(run: Path, trial: int) -> None:
    """Explain the result of the trial with number TRIAL of RUN.

    Prints its cost, its training, its comparison with the teacher and with other students, the diagnosis with the
    evidence, and what to try next. Needs no images, weights or GPU.
    """
    from nas_distill.analysis.run import Run
    from nas_distill.cli.display.sections import make_console, print_section
    from nas_distill.report.sections.story import tell_story

    console = make_console()
    for section in tell_story(Run(run), trial):
        print_section(console, section)
