"""`nas_distill confirm RUN`: retrains picked students and prints what they are worth."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from nas_distill.cli.options import RESOURCE_FLAGS, config_flags, given_values, names_of
from nas_distill.errors import EXIT_INTERRUPTED, ConfigError

FLAGS = tuple(replace(flag, default="the run's") for flag in RESOURCE_FLAGS)
"""Without them the trainings have what the search's own had."""


@click.command(short_help="Retrain picked students with and without the teacher; score them on test.")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--picks", metavar="LIST", help="Rules, trial numbers or front, comma separated.  [default: the picks]")
@click.option(
    "--seeds",
    type=int,
    default=None,
    help="Trainings per arm, scored on test; classes are tested from 5 on.  [default: 5]",
)
@click.option("--folds", type=int, default=None, help="Instead: parts of the training split; test stays closed.")
@click.option("--release", is_flag=True, help="Train a third time, with per-class release.")
@config_flags(FLAGS)
def command(
    run: Path, picks: str | None, seeds: int | None, folds: int | None, *, release: bool, **parameters: Any
) -> None:
    """Trains picked students of RUN anew at full budget, with and without the teacher, and scores them.

    With seeds they are scored on the test split, which nothing else touches. What has ended stays: the same command
    goes on after an interruption, and one with more seeds or picks adds to it.

    \b
    Examples:
      python -m nas_distill confirm runs/digits
      python -m nas_distill confirm runs/digits --picks knee,17 --seeds 3
    """  # noqa: D301 - \b is click's mark for a block that is not rewrapped
    from nas_distill.cli.display.progress import make_progress

    if seeds is not None and folds is not None:
        raise ConfigError("--seeds, --folds: repetitions are either seeds on the test split or folds; give one of them")
    with make_progress(sys.stderr) as progress:
        from nas_distill.search.retrain.confirm import confirm_students
        from nas_distill.search.retrain.confirm_plan import Request

        request = Request(
            picks=() if picks is None else tuple(picks.split(",")),
            seeds=5 if seeds is None else seeds,
            folds=folds or 0,
            release=release,
        )
        outcome = confirm_students(
            run,
            request,
            progress,
            resources=given_values(FLAGS, parameters),
            flag_names=names_of(FLAGS),
        )
    _print(outcome.run.path)
    if outcome.interrupted:
        click.echo("interrupted: the same command goes on", err=True)
        sys.exit(EXIT_INTERRUPTED)


def _print(run: Path) -> None:
    from nas_distill.cli.display.sections import make_console, print_section
    from nas_distill.report import load_content, write_report
    from nas_distill.report.sections.findings import confirmed
    from nas_distill.run_directory.layout import RunDirectory

    directory = RunDirectory(run)
    content = load_content(directory)
    paths = write_report(content, directory.report)
    console = make_console()
    for section in confirmed(content):
        print_section(console, section)
    click.echo(f"report: {paths.html}")
