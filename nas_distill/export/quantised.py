"""Measure students after static quantisation to int8, without keeping the files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from nas_distill.analysis.run import Run
from nas_distill.callbacks import Progress
from nas_distill.data.splits import open_split
from nas_distill.errors import ExportError, NoStudentError
from nas_distill.export.check import Checker
from nas_distill.export.latency import measure_latencies
from nas_distill.export.writer import FormatWriter
from nas_distill.inference.exported import file_sha256
from nas_distill.inference.onnx import check_exporter
from nas_distill.inference.student import load_student
from nas_distill.records.export import FILES, Int8Record
from nas_distill.run_directory.files import read_record, write_record
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.train.metrics import gap_points


def quantise_students(path: Path, numbers: Iterable[int], progress: Progress) -> dict[int, Int8Record | str]:
    """Measure students of a run after quantisation, and store each result in the run directory.

    Results that are stored for the same weights are kept. A student that cannot be exported does not keep others from
    being measured.

    Args:
        path: Run directory.
        numbers: Trial numbers.
        progress: Receives events.

    Returns:
        The record of each student by trial number, or why it cannot be quantised.

    Raises:
        InstallationError: The extra `export` is not installed.
        RunError: A trial has no student, or its weights are damaged.
        DataError: The images cannot be read.
    """
    check_exporter()
    directory = RunDirectory(path)
    found: dict[int, Int8Record | str] = {}
    for number in numbers:
        stored = _stored(directory, number)
        if stored is not None:
            found[number] = stored
            continue
        try:
            found[number] = _measure(directory, number, progress)
        except ExportError as error:
            found[number] = str(error)
            progress.event("warning", f"trial {number} cannot be quantised: {error}")
    return found


def _stored(run: RunDirectory, number: int) -> Int8Record | None:
    path = run.int8(number)
    if not path.exists():
        return None
    record = read_record(path, Int8Record)
    return record if record.weights_sha256 == file_sha256(run.trial(number).weights) else None


def _measure(run: RunDirectory, number: int, progress: Progress) -> Int8Record:
    student = load_student(run.path, number)
    data = Run(run.path).config.data
    checker = Checker(student, open_split(data, run.path, "validation"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        writer = FormatWriter(student, checker, open_split(data, run.path, "train"), folder=folder, progress=progress)
        whole, int8 = writer.write("onnx"), writer.write("onnx-int8")
        latencies = measure_latencies({"onnx": whole.classifier, "int8": int8.classifier})
        size = (folder / FILES["onnx-int8"]).stat().st_size
    scores = int8.comparison.scores
    record = Int8Record(
        weights_sha256=file_sha256(run.trial(number).weights),
        scores=scores,
        gap_points=gap_points(run.read_teacher().top1, scores.top1),
        float_top1=checker.scores.top1,
        size_bytes=size,
        latency=latencies["int8"],
        float_latency=latencies["onnx"],
    )
    write_record(run.int8(number), record)
    progress.event(
        "int8",
        f"trial {number}: {100 * record.float_top1:.2f} % top-1 in float32, {100 * scores.top1:.2f} % in int8, "
        f"gap {record.gap_points:+.2f} points",
    )
    return record


def front_numbers(path: Path) -> tuple[int, ...]:
    """Return the trial numbers of a run's Pareto front.

    Raises:
        NoStudentError: No student is fully trained.
    """
    numbers = tuple(Run(path).front().numbers)
    if not numbers:
        raise NoStudentError(
            "has no fully trained student to quantise; continue the search with --resume",
            code="export.no_student",
            field=str(path),
        )
    return numbers
