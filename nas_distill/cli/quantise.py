"""`nas_distill quantise RUN`: measure students after quantisation to int8."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command(short_help="Measure what quantisation to int8 costs each student.")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--picks",
    multiple=True,
    metavar="PICKS",
    help="Picks (knee, smallest, best) or trial numbers, comma-separated; repeatable.  [default: the whole front]",
)
def command(run: Path, picks: tuple[str, ...]) -> None:
    """Measure accuracy, calibration, size and latency of students of RUN after static quantisation to int8.

    Each student is written as ONNX, calibrated on training images and measured on the validation images in ONNX
    Runtime; the files are not kept (`export --int8` writes them). Results are stored in the run directory and become
    columns of its tables, and `int8_gap_points` an objective of its front. Needs `pip install 'nas-distill[export]'`.

    \b
    Examples:
      python -m nas_distill quantise runs/digits
      python -m nas_distill pareto runs/digits --objectives int8_gap_points,size_int8_bytes
    """  # noqa: D301 - \b is click's mark for a block that is not rewrapped
    from nas_distill.analysis.run import Run
    from nas_distill.cli.display.exports import print_quantised
    from nas_distill.cli.display.progress import make_progress
    from nas_distill.export.quantised import front_numbers, quantise_students

    names = [name.strip() for text in picks for name in text.split(",") if name.strip()]
    opened = Run(run)
    numbers = [opened.trial_number(name) for name in names] if names else front_numbers(run)
    with make_progress(sys.stderr) as progress:
        found = quantise_students(run, dict.fromkeys(numbers), progress)
    print_quantised(run, found)
