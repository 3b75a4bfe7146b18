"""`nas_distill evaluate EXPORT`: score the files of an export on labelled images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nas_distill.export.evaluation import Split


@click.command(short_help="Score an export on labelled images.")
@click.argument("export", metavar="EXPORT", type=click.Path(path_type=Path))
@click.option(
    "--data", help="Images: digits, folder:PATH, or a timm data set.  [default: those that the student was trained on]"
)
@click.option("--data-root", help="Folder of timm's data sets.")
@click.option(
    "--split", type=click.Choice(("train", "validation", "test", "all")),
    help="Images to use.  [default: validation of the student's own data, all of other data]",
)  # fmt: skip
@click.option("--format", "formats", metavar="LIST", help="Files of the export, comma-separated.  [default: all]")
@click.option("--teacher", help="Teacher to compare with: local-dir:PATH or run:RUN/TRIAL.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(
    export: Path,
    *,
    data: str | None,
    data_root: str | None,
    split: Split | None,
    formats: str | None,
    teacher: str | None,
    as_json: bool,
) -> None:
    """Score the files of EXPORT: accuracy with its interval, likelihood, calibration, gap to a teacher.

    Images are decoded, rotated, resized and normalised as in training. The class folders must be named as in training.

    \b
    Examples:
      python -m nas_distill evaluate exports/student --split test
      python -m nas_distill evaluate exports/student --data folder:new-photos --teacher local-dir:runs/teacher
    """  # noqa: D301 - \b is click's mark for a block that is not rewrapped
    from nas_distill.cli.display.exports import print_evaluation
    from nas_distill.cli.display.progress import make_progress
    from nas_distill.export.evaluation import EvaluationRequest, evaluate_export

    request = EvaluationRequest(
        formats=() if formats is None else tuple(name.strip() for name in formats.split(",")),
        data=data,
        data_root=data_root,
        split=split,
        teacher=teacher,
    )
    with make_progress(sys.stderr) as progress:
        found = evaluate_export(export, request, progress)
    print_evaluation(found, as_json=as_json)
