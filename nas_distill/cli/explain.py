"""`nas_distill explain RUN TRIAL`: one student's story."""

from __future__ import annotations

from pathlib import Path

import click

from nas_distill.cli.options import TRIAL_NUMBER


@click.command(short_help="Tell one student's story: where it stands, why, and what to try.")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("trial", metavar="TRIAL", type=TRIAL_NUMBER)
def command(run: Path, trial: int) -> None:
    """Tells what the records of RUN say of the trial with the number TRIAL.

    What it is and costs, how it was trained, how it compares with the teacher and with its rivals, the verdict with its
    evidence, and what to try. No image, weight or GPU is needed.
    """
    from nas_distill.analysis.run import Run
    from nas_distill.cli.display.sections import make_console, print_section
    from nas_distill.report.sections.story import tell_story

    console = make_console()
    for section in tell_story(Run(run), trial):
        print_section(console, section)
