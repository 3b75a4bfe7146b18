"""`nas_distill confirm RUN`: retrain picked students and print their scores."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from nas_distill.cli.options import RESOURCE_FLAGS, config_flags, flag_names, given_values
from nas_distill.errors import EXIT_INTERRUPTED, ConfigError

FLAGS = tuple(replace(flag, default="the run's own") for flag in RESOURCE_FLAGS)


@click.command(short_help="Retrain picked students with and without the teacher and test them.")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--picks",
    multiple=True,
    metavar="LIST",
    help="Rule names, trial numbers or front, comma-separated. Repeatable.  [default: all picks]",
)
@click.option(
    "--seeds",
    type=int,
    default=None,
    help="Seeds per student and kind of training. Tests of classes need 5.  [default: 5]",
)
@click.option(
    "--folds", type=int, default=None, help="Cross-validate with this many folds instead of using the test images."
)
@click.option("--release", is_flag=True, help="Also train each student with per-class release.")
@config_flags(FLAGS)
def command(
    run: Path, picks: tuple[str, ...], seeds: int | None, folds: int | None, *, release: bool, **parameters: Any
) -> None:
    """Retrain picked students of RUN, with and without the teacher, and score them.

    A student that starts from other weights than random ones is also trained from random weights, to show what its
    initial weights are worth.

    With --seeds, they are scored on the test images, which no other command uses. Completed trainings are kept: run the
    same command again after an interruption, or with more seeds or picks to add trainings.

    \b
    Examples:
      python -m nas_distill confirm runs/digits
      python -m nas_distill confirm runs/digits --picks knee,17 --seeds 3
    """  # noqa: D301 - \b is click's mark for a block that is not rewrapped
    if seeds is not None and folds is not None:
        raise ConfigError(
            "cannot be combined; give one of them", code="cli.conflicting_options", field="--seeds, --folds"
        )

    from nas_distill.cli.display.progress import make_progress

    with make_progress(sys.stderr) as progress:
        from nas_distill.search.retrain.confirm import confirm_students
        from nas_distill.search.retrain.confirm_plan import Request

        request = Request(
            picks=tuple(name for given in picks for name in given.split(",")),
            seeds=5 if seeds is None else seeds,
            folds=folds or 0,
            release=release,
        )
        outcome = confirm_students(
            run, request, progress, resources=given_values(FLAGS, parameters), flag_names=flag_names(FLAGS)
        )

    if outcome.interrupted:
        click.echo(f"to continue: {shlex.join(['python', '-m', 'nas_distill', *sys.argv[1:]])}")
        raise click.exceptions.Exit(EXIT_INTERRUPTED)

    from nas_distill.cli.display.report import print_confirmed
    from nas_distill.report import build_report

    print_confirmed(build_report(outcome.run))
