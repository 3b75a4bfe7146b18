"""Open the student that a command names: a pick of a run, or a file of an export."""

from __future__ import annotations

from pathlib import Path

from nas_distill.analysis.run import Run
from nas_distill.errors import ConfigError, ExportError
from nas_distill.inference.classifier import Classifier
from nas_distill.inference.exported import MANIFEST, choose_format, open_export, read_manifest
from nas_distill.run_directory.files import reading
from nas_distill.run_directory.layout import RunDirectory


def open_student(source: Path, *, pick: str | None = None, form: str | None = None) -> Classifier:
    """Return the student of a run or of an export.

    Args:
        source: Run directory, or folder of an export.
        pick: Pick or trial number of a run. Default: the best trade-off.
        form: Format of an export. Default: its first one.

    Raises:
        ExportError: The folder is neither a run nor an export, or a file is damaged.
        ConfigError: A pick is given for an export, or a format for a run, or there is none of this name.
        NoStudentError: The pick rule chooses no student.
        RunError: The trial has no student.
    """
    with reading(source):
        is_export, is_run = (source / MANIFEST).is_file(), RunDirectory(source).config.is_file()
    if is_export:
        if pick is not None:
            raise _not_for("--pick", "an export, which holds one student")
        manifest = read_manifest(source)
        return open_export(source, choose_format(manifest, form, source), manifest=manifest)
    if not is_run:
        raise ExportError(
            f"holds neither a run (config.yaml) nor an export ({MANIFEST})",
            code="export.not_an_export",
            field=str(source),
        )
    if form is not None:
        raise _not_for("--format", "a run; export the student first")
    return Run(source).load_student(pick or "knee")


def _not_for(flag: str, what: str) -> ConfigError:
    return ConfigError(f"is not for {what}", code="cli.conflicting_options", field=flag)
