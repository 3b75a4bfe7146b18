"""`nas_distill predict RUN|EXPORT IMAGE...`: classify images."""

from __future__ import annotations

from pathlib import Path

import click

from nas_distill.errors import ConfigError, DataError


@click.command(short_help="Classify images with a student.")
@click.argument("source", metavar="RUN|EXPORT", type=click.Path(path_type=Path))
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--pick", metavar="PICK", help="Pick (knee, smallest, best) or trial number of a RUN.  [default: knee]")
@click.option("--format", "form", metavar="NAME", help="File of an EXPORT to use.  [default: its first one]")
@click.option("--top", type=click.IntRange(min=1), default=3, show_default=True, help="Classes per image.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(
    source: Path, images: tuple[Path, ...], pick: str | None, form: str | None, top: int, *, as_json: bool
) -> None:
    """Classify images with a student of a RUN, or with an EXPORT.

    Images are decoded, rotated, resized and normalised as in training. An image that cannot be read is reported, the
    others are classified, and the exit status is 3.

    \b
    Examples:
      python -m nas_distill predict runs/digits image.png --pick 17
      python -m nas_distill predict exports/student *.jpg --top 1 --json
    """  # noqa: D301 - \b is click's mark for a block that is not rewrapped
    from nas_distill.cli.display.exports import print_predictions
    from nas_distill.export.opening import open_student

    if pick is not None and form is not None:
        raise ConfigError(
            "cannot be combined: a run has picks, an export has formats",
            code="cli.conflicting_options",
            field="--pick, --format",
        )
    found = list(open_student(source, pick=pick, form=form).predict_each(images, top))
    print_predictions(found, as_json=as_json)
    errors = [answer for _, answer in found if isinstance(answer, DataError)]
    if errors:
        raise DataError(errors[0].args[0], code=errors[0].code, field=errors[0].field, others=tuple(errors[1:]))
