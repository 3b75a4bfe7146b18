"""Use the student of a trial as a teacher: `run:RUN/TRIAL`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, PositiveInt
from torch import Tensor

from nas_distill.config import RUN, split_run
from nas_distill.errors import RunError, SpaceError, TeacherError
from nas_distill.models.preprocess import Preprocess
from nas_distill.models.student import build_student
from nas_distill.models.teacher_network import Teacher
from nas_distill.models.weights import load_weights
from nas_distill.records import StudentSpec, TeacherLink, TrialRecord
from nas_distill.records.base import Record
from nas_distill.records.network_shape import NetworkShape
from nas_distill.records.normalisation import Normalisation
from nas_distill.records.resizing import NetworkInput, Resizing
from nas_distill.records.student_interface import StudentInterface
from nas_distill.run_directory.files import read_record
from nas_distill.run_directory.layout import RunDirectory

_TEACHER_HEAD_NAMES = ("backbone.", "projector.", "classifier.")
"""Prefixes of the tensor names of a `teacher_head.StudentWithTeacherHead`."""


class _Images(Record):
    """The fields of `data.json` that are needed to use a student. The other fields are ignored."""

    model_config = ConfigDict(extra="ignore")

    class_names: tuple[str, ...]
    image_size: PositiveInt
    channels: Literal[1, 3]
    resizing: Resizing | None = None
    data_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentProvenance:
    """The training data and the teachers of a student.

    Attributes:
        trained_on_data_id: Digest of the data and splits that the student was trained on.
        lineage: Its chain of teachers, see `TeacherRecord.lineage`.
    """

    trained_on_data_id: str
    lineage: tuple[TeacherLink, ...]


def load_run_student(model: str, *, image_size: int | None = None) -> Teacher:
    """Return the student of a trial as a frozen teacher.

    Args:
        model: Reference `run:RUN/TRIAL`.
        image_size: Input size, pixels. Default: the size of the images that the student was trained on.

    Raises:
        TeacherError: The run or trial does not exist, the trial is not complete, or the weights are missing, damaged
            or those of another network.
    """
    run, record = _trial(model)
    images = _images(model, run)
    path = run.trial(record.number).weights
    weights = _read_weights(model, path)
    size = image_size or images.image_size
    try:
        network = build_student(
            record.spec, num_classes=len(images.class_names), channels=images.channels, image_size=size
        )
        network.load_state_dict(weights)
    except SpaceError as error:
        raise TeacherError(
            f"the student of {model} cannot be built again: {error}",
            code="models.student_not_rebuildable",
            field="teacher.model",
        ) from error
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise TeacherError(
            f"{path} does not hold the weights of {record.spec.architecture}: {reason}",
            code="models.weights_mismatch",
            field="teacher.model",
        ) from error
    return Teacher(
        network,
        architecture=record.spec.architecture,
        arguments=record.spec.keyword_arguments(),
        channels=images.channels,
        image_size=size,
        preprocess=Preprocess.of(_normalisation(model, record), image_size=size),
        class_names=images.class_names,
    )


def student_input(model: str) -> NetworkInput:
    """Return the images that the student `run:RUN/TRIAL` was trained on.

    Raises:
        TeacherError: The run or trial does not exist, or the trial is not complete.
    """
    run, _ = _trial(model)
    images = _images(model, run)
    return NetworkInput(image_size=images.image_size, resizing=images.resizing or Resizing())


def student_interface(model: str) -> StudentInterface:
    """Return what is needed to call the student `run:RUN/TRIAL`; no weights are read.

    Raises:
        TeacherError: The run or trial does not exist, or the trial is not complete.
    """
    run, record = _trial(model)
    images = _images(model, run)
    return StudentInterface(
        architecture=record.spec.architecture,
        arguments=record.spec.arguments,
        class_names=images.class_names,
        channels=images.channels,
        image_size=images.image_size,
        resizing=images.resizing or Resizing(),
        normalisation=_normalisation(model, record),
    )


def recorded_normalisation(model: str) -> Normalisation:
    """Return the normalisation that the student `run:RUN/TRIAL` was trained with.

    Raises:
        TeacherError: The run or trial does not exist, or the trial is not complete.
    """
    _, record = _trial(model)
    return _normalisation(model, record)


def _normalisation(model: str, record: TrialRecord) -> Normalisation:
    if record.execution.normalisation is None:
        raise TeacherError(
            f"the result of {model} does not say how its images were normalised; use another student",
            code="models.normalisation_unknown",
            field="teacher.model",
        )
    return record.execution.normalisation


def _read_weights(model: str, path: Path) -> dict[str, Tensor]:
    """Return the weights of a student that can be used without another network.

    Raises:
        TeacherError: The file cannot be read, or the student uses the classifier of its own teacher.
    """
    try:
        weights = load_weights(path)
    except RunError as error:
        raise TeacherError(
            f"the student's weights are unusable: {error}; use another student",
            code="models.weights_unreadable",
            field="teacher.model",
        ) from None
    if weights and all(name.startswith(_TEACHER_HEAD_NAMES) for name in weights):
        raise TeacherError(
            f"the student of {model} uses the classifier of its own teacher (loss simkd) and cannot be a teacher "
            "without it; use a student that was distilled with another loss",
            code="models.uses_teacher_head",
            field="teacher.model",
        )
    return weights


def run_student_shape(model: str) -> tuple[StudentSpec, NetworkShape]:
    """Return the architecture of the student `run:RUN/TRIAL`, and the shape of its images; no weights are read.

    Raises:
        TeacherError: The run or trial does not exist, or the trial is not complete.
    """
    run, record = _trial(model)
    images = _images(model, run)
    shape = NetworkShape(num_classes=len(images.class_names), channels=images.channels, image_size=images.image_size)
    return record.spec, shape


def student_provenance(model: str) -> StudentProvenance:
    """Return the training data and the teachers of the student `run:RUN/TRIAL`.

    Raises:
        TeacherError: The run or trial does not exist, or a record of the run is missing or damaged.
    """
    run, record = _trial(model)
    name = run.path.resolve().name
    try:
        teacher = run.read_teacher()
    except RunError as error:
        raise _unreadable(model, error) from error
    first = TeacherLink(
        run=name, trial=None, architecture=teacher.architecture, num_params=teacher.cost.num_params, top1=teacher.top1
    )
    distilled = [_link(name, record)]
    assistant = record.assistant
    while assistant is not None:
        _, record = _trial(f"{RUN}{run.path}/{assistant}")
        distilled.insert(0, _link(name, record))
        assistant = record.assistant
    return StudentProvenance(
        trained_on_data_id=_images(model, run).data_id,
        lineage=(*(teacher.lineage or (first,)), *distilled),
    )


def _trial(model: str) -> tuple[RunDirectory, TrialRecord]:
    """Return the run and the record of its trial.

    Raises:
        TeacherError: The run or trial does not exist, or the trial has no student.
    """
    try:
        folder, number = split_run(model)
        run = RunDirectory(folder).existing()
        record = run.trial(number).read_record()
    except (ValueError, RunError) as error:
        raise _unreadable(model, error) from error
    if record is None:
        names = (path.parent.name for path in run.trials.glob("*/result.json"))
        ended = sorted(int(name) for name in names if name.isdecimal())
        known = f"these have: {_some(ended)}" if ended else "none has"
        raise TeacherError(
            f"trial {number} of {model} has not ended; {known}",
            code="models.trial_not_complete",
            field="teacher.model",
        )
    if record.metrics is None:
        raise TeacherError(
            f"trial {number} of {model} {record.status.value}{f': {record.error}' if record.error else ''}; use a "
            "complete trial",
            code="models.trial_not_complete",
            field="teacher.model",
        )
    return run, record


def _images(model: str, run: RunDirectory) -> _Images:
    try:
        return read_record(run.data_manifest, _Images)
    except RunError as error:
        raise _unreadable(model, error) from error


def _unreadable(model: str, error: Exception) -> TeacherError:
    return TeacherError(f"{model}: {error}", code="models.run_unreadable", field="teacher.model")


def _link(run: str, record: TrialRecord) -> TeacherLink:
    assert record.metrics is not None
    return TeacherLink(
        run=run,
        trial=record.number,
        architecture=record.spec.architecture,
        num_params=record.cost.num_params,
        top1=record.metrics.top1,
    )


def _some(numbers: list[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:12])
    return f"{shown} and {len(numbers) - 12} more" if len(numbers) > 12 else shown
