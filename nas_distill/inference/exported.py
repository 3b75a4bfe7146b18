"""Open the student of an export folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import timm

from nas_distill.config import LOCAL_DIR
from nas_distill.errors import ConfigError, ExportError, first_line
from nas_distill.inference.classifier import Classifier, network_classifier
from nas_distill.inference.onnx import open_onnx
from nas_distill.inference.program import open_program
from nas_distill.models.weights import CONFIG as TIMM_CONFIG
from nas_distill.records.export import FILES, ExportManifest, FormatName
from nas_distill.records.student_interface import StudentInterface
from nas_distill.run_directory.files import read_record, reading

MANIFEST = "export.json"


def read_manifest(folder: Path) -> ExportManifest:
    """Return the manifest of an export folder.

    Raises:
        ExportError: The folder is not an export.
        RunError: The manifest is damaged, or was written by another version.
    """
    with reading(folder):
        exists = (folder / MANIFEST).is_file()
    if not exists:
        raise ExportError(
            f"has no {MANIFEST}; give a folder that `nas_distill export` wrote",
            code="export.not_an_export",
            field=str(folder),
        )
    return read_record(folder / MANIFEST, ExportManifest)


def choose_format(manifest: ExportManifest, name: str | None, folder: Path) -> FormatName:
    """Return the format to open: the named one, or the first of the export, but int8 only if it is named.

    Raises:
        ConfigError: The export does not have the format.
    """
    present = [one.name for one in manifest.formats]
    if name is None:
        return present[0]
    for one in present:
        if one == name:
            return one
    raise ConfigError(
        f"{folder} does not have '{name}'; it has {', '.join(present)}",
        code="export.format_missing",
        field="--format",
    )


def open_export(folder: Path, name: FormatName, *, manifest: ExportManifest, threads: int = 1) -> Classifier:
    """Return the student in one file of an export, after comparing its files with their SHA-256.

    Args:
        folder: Folder of the export.
        name: A format that the export has.
        manifest: Manifest of the export.
        threads: Number of threads of ONNX Runtime; other formats use torch's.

    Raises:
        ExportError: The file is missing or damaged, or its architecture is not registered.
        InstallationError: The format needs a package that is not installed.
    """
    report = manifest.report(name)
    assert report is not None
    for file in format_files(name):
        if file_sha256(folder / file) != report.files.get(file):
            raise ExportError(
                f"differs from the file that was exported (its SHA-256 is not that in {MANIFEST}); export the student "
                "again",
                code="export.damaged_file",
                field=str(folder / file),
            )
    return open_format(folder, name, manifest.interface, required_import=manifest.required_import, threads=threads)


def open_format(
    folder: Path,
    name: FormatName,
    interface: StudentInterface,
    *,
    required_import: str | None = None,
    threads: int = 1,
) -> Classifier:
    """Return the student in one file of a folder, without checking the file against a manifest.

    Args:
        folder: Folder of an export.
        name: Format of the file.
        interface: What is needed to call the student.
        required_import: Python statement that registers the architecture, for the error.
        threads: Number of threads of ONNX Runtime.

    Raises:
        ExportError: The file cannot be opened.
        InstallationError: The format needs a package that is not installed.
    """
    path = folder / FILES[name]
    if name == "torch-export":
        return Classifier(interface=interface, forward=open_program(path))
    if name != "timm":
        return Classifier(interface=interface, forward=open_onnx(path, threads=threads))
    try:
        network = timm.create_model(f"{LOCAL_DIR}{folder}", pretrained=True)
    except Exception as error:
        fix = f"run `{required_import}` first" if required_import else "export the student again"
        raise ExportError(
            f"timm cannot load the folder: {first_line(error)}; {fix}",
            code="export.unreadable_file",
            field=str(folder),
        ) from error
    return network_classifier(network, interface)


def format_files(name: FormatName) -> tuple[str, ...]:
    """Return the names of the files of a format in the folder of an export."""
    return (FILES[name], TIMM_CONFIG) if name == "timm" else (FILES[name],)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        RunError: The file cannot be read.
    """
    digest = hashlib.sha256()
    with reading(path), path.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()
