"""Load the student of a trial."""

from __future__ import annotations

from pathlib import Path

from nas_distill.config import RUN
from nas_distill.errors import RunError, TeacherError
from nas_distill.inference.classifier import Classifier, network_classifier
from nas_distill.models.run_student import load_run_student, student_interface
from nas_distill.run_directory.config import read_run_config
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.user_code import USER_MODULE_FIELDS, import_modules


def load_student(run: Path, number: int) -> Classifier:
    """Return the student of a trial, after importing the run's own modules, which may register its architecture.

    Args:
        run: Run directory.
        number: Trial number.

    Raises:
        RunError: There is no run, the trial has no student, or its weights are missing or damaged.
        ConfigError, SpaceError: A module of the run cannot be imported.
    """
    import_modules(read_run_config(RunDirectory(run)).user_modules, field=USER_MODULE_FIELDS)
    reference = f"{RUN}{run}/{number}"
    try:
        return network_classifier(load_run_student(reference).network, student_interface(reference))
    except TeacherError as error:
        raise _as_run_error(error, run, number) from error


def _as_run_error(error: TeacherError, run: Path, number: int) -> RunError:
    """Return an error that names the trial instead of the teacher of another search."""
    message = str(error.args[0])
    if error.code == "models.uses_teacher_head":
        message = (
            "the student uses the classifier of its teacher (loss simkd) and cannot be used without it; choose a "
            "student that was distilled with another loss"
        )
    return RunError(message, code=error.code, field=f"trial {number} of {run}")
