"""Exports, predictions and evaluations on a terminal."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from nas_distill.analysis.formatting import short_bytes, signed
from nas_distill.cli.display.sections import make_console
from nas_distill.errors import DataError
from nas_distill.export.card import LARGE_LOSS_POINTS, accuracy_text, latency_text, notes
from nas_distill.records.export import FILES, ExportManifest, Int8Record

if TYPE_CHECKING:
    from nas_distill.export.evaluation import Evaluation
    from nas_distill.inference.classifier import Prediction

PREDICTIONS_VERSION = 1
"""Version of the JSON of `nas_distill predict`."""

_LEFT = frozenset({"File", "Image", "Class"})


def print_export(folder: Path, manifest: ExportManifest) -> None:
    """Print what was exported: one row per file, notes, and the folder."""
    one = manifest.source
    table = _table(
        f"Trial {one.trial} of {one.run} on {manifest.pytorch.images} validation images",
        ("File", "Size", "Top-1", "Top-1, batch 1", "NLL, nats", "ECE", "Logit difference", "Latency"),
    )
    before = manifest.pytorch
    table.add_row(
        "PyTorch", "", accuracy_text(before), "", f"{before.nll_nats:.4f}", f"{before.ece:.4f}", "",
        latency_text(manifest.pytorch_latency),
    )  # fmt: skip
    for found in manifest.formats:
        scores = found.scores
        table.add_row(
            FILES[found.name], short_bytes(found.size_bytes), accuracy_text(scores),
            f"{100 * found.top1_one_by_one:.2f} %", f"{scores.nll_nats:.4f}", f"{scores.ece:.4f}",
            f"{found.largest_difference:.2g}", latency_text(found.latency),
        )  # fmt: skip
    console = make_console()
    console.print(table)
    for note in notes(manifest):
        is_warning = note.startswith("**")
        console.print(Text(note.replace("**", ""), style="bold red" if is_warning else ""))
    if manifest.required_import:
        console.print(
            Text(f"timm alone cannot load {manifest.interface.architecture}: {manifest.required_import} first.")
        )
    click.echo(f"export: {folder}")


def print_quantised(run: Path, found: Mapping[int, Int8Record | str]) -> None:
    """Print what quantisation costs each student, and how to choose by it."""
    table = _table(
        f"Students of {run} after quantisation to int8, on the validation images",
        ("Trial", "Top-1", "Top-1, int8", "Gap, points", "Gap in int8", "ECE in int8", "int8 file", "Latency",
         "Latency, int8"),
    )  # fmt: skip
    console = make_console()
    for number, one in found.items():
        if isinstance(one, str):
            table.add_row(str(number), Text(f"not quantised: {one}", style="red"))
            continue
        lost = 100.0 * (one.float_top1 - one.scores.top1)
        table.add_row(
            str(number), f"{100 * one.float_top1:.2f} %", f"{100 * one.scores.top1:.2f} %",
            signed(one.gap_points - lost),
            Text(signed(one.gap_points), style="red" if lost > LARGE_LOSS_POINTS else ""),
            f"{one.scores.ece:.3f}", short_bytes(one.size_bytes), latency_text(one.float_latency),
            latency_text(one.latency),
        )  # fmt: skip
    console.print(table)
    click.echo(f"front: nas_distill pareto {shlex.quote(str(run))} --objectives int8_gap_points,size_int8_bytes")


def print_predictions(found: Sequence[tuple[Path, tuple[Prediction, ...] | DataError]], *, as_json: bool) -> None:
    """Print the classes of each image. Errors are in the JSON, but not in the table."""
    if as_json:
        images = [_image(path, answer) for path, answer in found]
        click.echo(json.dumps({"schema_version": PREDICTIONS_VERSION, "images": images}, indent=1))
        return
    table = _table(None, ("Image", "Class", "Probability"))
    for path, answer in found:
        if isinstance(answer, DataError):
            continue
        for place, one in enumerate(answer):
            table.add_row(
                Text(str(path) if place == 0 else ""), Text(one.class_name), f"{one.probability:.4f}",
                end_section=place == len(answer) - 1,
            )  # fmt: skip
    if table.row_count:
        make_console().print(table)


def print_evaluation(found: Evaluation, *, as_json: bool) -> None:
    """Print the scores of each file and of the teacher."""
    if as_json:
        click.echo(found.model_dump_json(indent=1))
        return
    images = found.formats[0].scores.images
    columns = ("File", "Top-1", "NLL, nats", "ECE", *(("Gap, points", "Agreement") if found.teacher else ()))
    table = _table(f"{images} images of {found.data} ({found.split})", columns)
    for one in found.formats:
        cells = [FILES[one.name], accuracy_text(one.scores), f"{one.scores.nll_nats:.4f}", f"{one.scores.ece:.4f}"]
        if one.gap_points is not None and one.gap_half_width_points is not None and one.agreement is not None:
            cells += [f"{signed(one.gap_points)} ± {one.gap_half_width_points:.2f}", f"{100 * one.agreement:.2f} %"]
        table.add_row(*cells)
    if found.teacher is not None:
        teacher = found.teacher
        table.add_row("teacher", accuracy_text(teacher), f"{teacher.nll_nats:.4f}", f"{teacher.ece:.4f}", "", "")
    console = make_console()
    console.print(table)
    for note in found.notes:
        console.print(Text(note))


def _image(path: Path, answer: tuple[Prediction, ...] | DataError) -> dict[str, object]:
    if isinstance(answer, DataError):
        return {"image": str(path), "error": {"code": answer.code, "message": str(answer.args[0])}}
    return {"image": str(path), "predictions": [one.model_dump() for one in answer]}


def _table(title: str | None, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in _LEFT else "right", overflow="fold")
    return table
