"""Start a student from the weights of a student of another run, `run:RUN/TRIAL`."""

from __future__ import annotations

from functools import lru_cache

from nas_distill.errors import SpaceError, TeacherError
from nas_distill.models.run_student import load_run_student, run_student_shape
from nas_distill.models.teacher_network import Teacher
from nas_distill.records import StudentSpec


def run_misfit(spec: StudentSpec, reference: str) -> str | None:
    """Return why the weights of a run's student do not fit a candidate, in one line; None if they do.

    Args:
        spec: Specification of the candidate.
        reference: Reference `run:RUN/TRIAL`.

    Raises:
        TeacherError: The run or trial does not exist, or the trial is not complete.
    """
    theirs = _spec(reference)
    if spec.architecture != theirs.architecture:
        return f"the student of {reference} is a {theirs.architecture}"
    for name in sorted({*spec.arguments, *theirs.arguments}):
        own, other = spec.arguments.get(name), theirs.arguments.get(name)
        if own != other:
            return f"{name} is {own} in the candidate and {other} in {reference}"
    return None


@lru_cache
def _spec(reference: str) -> StudentSpec:
    return run_student_shape(reference)[0]


def load_from_run(spec: StudentSpec, reference: str, *, image_size: int) -> Teacher:
    """Return the student of a run, whose weights a candidate continues.

    Args:
        spec: Specification of the candidate.
        reference: Reference `run:RUN/TRIAL`.
        image_size: Height and width of the candidate's images, pixels.

    Raises:
        SpaceError: The run, the trial or its weights cannot be read, or the weights do not fit the candidate.
    """
    field = f"candidate {spec.architecture}"
    try:
        misfit = run_misfit(spec, reference)
        if misfit is None:
            return load_run_student(reference, image_size=image_size)
    except TeacherError as error:
        raise SpaceError(str(error.args[0]), code=error.code, field=field) from error
    raise SpaceError(
        f"it cannot start from {reference}: {misfit}; use the same architecture and arguments",
        code="models.weights_mismatch",
        field=field,
    )
