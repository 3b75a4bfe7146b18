"""`export_student`: write a student in several formats, check each, and describe the result."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import timm

from nas_distill.analysis.run import Run
from nas_distill.callbacks import Progress
from nas_distill.data.manifest import DataManifest
from nas_distill.data.splits import open_split
from nas_distill.export.card import CardFacts, model_card
from nas_distill.export.check import Checker
from nas_distill.export.folder import check_target, staged
from nas_distill.export.formats import NEEDS_ONNX
from nas_distill.export.latency import measure_latencies
from nas_distill.export.programs import OPSET
from nas_distill.export.versions import versions
from nas_distill.export.writer import FormatWriter, WrittenFile
from nas_distill.inference.classifier import Classifier
from nas_distill.inference.exported import MANIFEST, file_sha256, format_files
from nas_distill.inference.onnx import check_exporter
from nas_distill.inference.student import load_student
from nas_distill.records import TrialRecord
from nas_distill.records.cost import Timing
from nas_distill.records.export import FILES, ExportManifest, ExportSource, FormatName, FormatReport
from nas_distill.run_directory.files import read_record, write_record, write_text
from nas_distill.run_directory.layout import RunDirectory

CARD = "README.md"

_PYTORCH = "pytorch"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What to export.

    Attributes:
        pick: Name of a pick rule, its beginning, or a trial number.
        formats: Formats to write.
        to: Folder of the export; None for `exports/` in the run directory.
        licence: Licence of the weights, for the model card.
    """

    pick: str
    formats: tuple[FormatName, ...]
    to: Path | None = None
    licence: str = "unknown"


def export_student(path: Path, request: ExportRequest, progress: Progress) -> tuple[Path, ExportManifest]:
    """Write a student in several formats to a new folder.

    Each file is read again and compared with PyTorch on the run's validation images. The folder appears only when all
    is written and checked.

    Args:
        path: Run directory.
        request: What to export.
        progress: Receives events.

    Returns:
        The folder and its manifest.

    Raises:
        ConfigError, NoStudentError, RunError: The pick, the trial or the run cannot be used.
        DataError: The validation images cannot be read.
        ExportError: The folder exists, or a file differs from PyTorch.
        InstallationError: A format needs a package that is not installed.
    """
    run = Run(path)
    number = run.trial_number(request.pick)
    target = request.to or path / "exports" / f"trial-{number:05d}"
    check_target(target)
    if NEEDS_ONNX & set(request.formats):
        check_exporter()
    student = load_student(path, number)
    record = RunDirectory(path).trial(number).read_record()
    assert record is not None
    with staged(target) as folder:
        source = _source(run, record, request.pick)
        manifest = _export(run, student, request, source=source, folder=folder, progress=progress)
        write_text(folder / CARD, model_card(_card_facts(run, record, manifest)))
        write_record(folder / MANIFEST, manifest)
    return target, manifest


def _export(
    run: Run, student: Classifier, request: ExportRequest, *, source: ExportSource, folder: Path, progress: Progress
) -> ExportManifest:
    data = run.config.data
    checker = Checker(student, open_split(data, run.path, "validation"))
    progress.event("check", f"{checker.scores.images} validation images, {100 * checker.scores.top1:.2f} % top-1")
    writer = FormatWriter(student, checker, open_split(data, run.path, "train"), folder=folder, progress=progress)
    written: dict[FormatName, WrittenFile] = {}
    for name in request.formats:
        written[name] = writer.write(name)
        found = written[name].comparison
        progress.event(
            name, f"{100 * found.scores.top1:.2f} % top-1, logits differ by up to {found.largest_difference:.2g}"
        )
    classifiers: dict[str, Classifier] = {name: one.classifier for name, one in written.items()}
    latencies = measure_latencies({_PYTORCH: writer.merged, **classifiers})
    return ExportManifest(
        interface=student.interface,
        required_import=required_import(student.interface.architecture),
        source=source,
        versions=versions(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        licence=request.licence,
        batch_size=checker.batch_size,
        tolerance=checker.tolerance,
        pytorch=checker.scores,
        pytorch_latency=latencies[_PYTORCH],
        formats=tuple(_report(name, one, folder, latencies[name]) for name, one in written.items()),
    )


def required_import(architecture: str) -> str | None:
    """Return the Python statement that registers an architecture with timm; None for one of timm's own."""
    entrypoint: Callable[..., object] = timm.models.model_entrypoint(architecture)
    module = entrypoint.__module__
    if module.startswith("timm."):
        return None
    if module.startswith("nas_distill."):
        return "import nas_distill.models"
    file = getattr(sys.modules.get(module), "__file__", None)
    # Users' files are imported under a name that is a hash.
    return f"import {Path(file).stem if file and module.startswith('nas_distill_user_') else module}"


def _report(name: FormatName, written: WrittenFile, folder: Path, latency: Timing) -> FormatReport:
    found = written.comparison
    return FormatReport(
        name=name,
        files={file: file_sha256(folder / file) for file in format_files(name)},
        size_bytes=(folder / FILES[name]).stat().st_size,
        fused=written.is_fused,
        exporter=written.exporter,
        opset=OPSET if name in NEEDS_ONNX else None,
        scores=found.scores,
        top1_one_by_one=found.top1_one_by_one,
        images_one_by_one=found.images_one_by_one,
        largest_difference=found.largest_difference,
        changed_predictions=found.changed_predictions,
        latency=latency,
    )


def _source(run: Run, record: TrialRecord, pick: str) -> ExportSource:
    directory = RunDirectory(run.path)
    assert record.metrics is not None
    teacher = directory.read_teacher()
    images = read_record(directory.data_manifest, DataManifest)
    return ExportSource(
        run=run.path.resolve().name,
        trial=record.number,
        pick=pick,
        spec=record.spec,
        seed=record.seed,
        weights_sha256=file_sha256(directory.trial(record.number).weights),
        data_source=run.config.data.source,
        data_id=images.data_id,
        content_id=images.content_id,
        split_settings=images.splits.model_dump(),
        recorded_top1=record.metrics.top1,
        teacher_top1=teacher.top1,
    )


def _card_facts(run: Run, record: TrialRecord, manifest: ExportManifest) -> CardFacts:
    confirmed = run.confirmed() if run.confirmations() else None
    students = () if confirmed is None else confirmed.students
    return CardFacts(
        manifest=manifest,
        record=record,
        teacher=RunDirectory(run.path).read_teacher(),
        confirmed=next((one for one in students if one.number == record.number), None),
    )
