"""`nas_distill export RUN PICK`: write a student to files that other programs load."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from nas_distill.cli.options import folder_path


@click.command(short_help="Export a student: timm, ONNX, int8, torch.export.")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("pick", metavar="PICK")
@click.option("--to", metavar="DIR", help="New folder of the export.  [default: RUN/exports/trial-NNNNN]")
@click.option(
    "--format", "formats", default="timm,onnx", show_default=True, metavar="LIST",
    help="Formats, comma-separated: timm, onnx, torch-export.",
)  # fmt: skip
@click.option("--int8", is_flag=True, help="Also write an int8 ONNX file, calibrated on training images.")
@click.option("--license", "licence", default="unknown", metavar="NAME", help="Licence of the weights, such as mit.")
def command(run: Path, pick: str, to: str | None, formats: str, *, int8: bool, licence: str) -> None:
    """Export a student of RUN, with a model card, its classes and its preprocessing.

    PICK is the name of a pick (knee, smallest, best) or the number of a trial. Each file is read again and compared
    with PyTorch on the validation images, one at a time and in batches. A file that computes something else is
    refused. The folder appears when all is written and checked; nothing is overwritten. Formats other than timm and
    torch-export need `pip install 'nas-distill[export]'`.

    \b
    Examples:
      python -m nas_distill export runs/digits knee
      python -m nas_distill export runs/digits 17 --format timm,onnx,torch-export --int8 --to exports/student
    """  # noqa: D301 - \b is click's mark for a block that is not rewrapped
    target = None if to is None else folder_path(to, "--to")

    from nas_distill.cli.display.exports import print_export
    from nas_distill.cli.display.progress import make_progress
    from nas_distill.export.formats import parse_formats
    from nas_distill.export.service import ExportRequest, export_student

    chosen = parse_formats(formats.split(","), int8=int8)
    with make_progress(sys.stderr) as progress:
        request = ExportRequest(pick=pick, formats=chosen, to=target, licence=licence)
        folder, manifest = export_student(run, request, progress)
    print_export(folder, manifest)
