"""The student of a run's trial as a teacher: `run:RUN/TRIAL`."""

from __future__ import annotations

from dataclasses import dataclass

import safetensors.torch
from pydantic import ConfigDict, PositiveFloat, PositiveInt
from safetensors import SafetensorError

from nas_distill.config import RUN, split_run
from nas_distill.errors import RunError, SpaceError, TeacherError
from nas_distill.models.preprocess import Preprocess
from nas_distill.models.student import build_student
from nas_distill.models.teacher_network import Teacher
from nas_distill.records import TeacherLink, TrialRecord
from nas_distill.records.base import Record, Share
from nas_distill.run_directory.files import read_record
from nas_distill.run_directory.layout import RunDirectory

_THROUGH = ("backbone.", "projector.", "classifier.")
"""How the tensors of a student are named that answers through its teacher's classifier (`uses_teacher_head`)."""


class _Images(Record):
    """What a student must know of the images that it was trained on; the other fields of `data.json` are left alone."""

    model_config = ConfigDict(extra="ignore")

    class_names: tuple[str, ...]
    image_size: PositiveInt
    channels: PositiveInt
    mean: tuple[Share, ...]
    std: tuple[PositiveFloat, ...]
    data_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentProvenance:
    """Where a teacher comes from that was a student.

    Attributes:
        trained_on_data_id: Digest of the data and splits that it was trained on.
        lineage: See `TeacherRecord.lineage`.
    """

    trained_on_data_id: str
    lineage: tuple[TeacherLink, ...]


def load_run_student(model: str, *, image_size: int | None = None) -> Teacher:
    """Return the student of a run's trial, frozen.

    Args:
        model: `run:RUN/TRIAL`.
        image_size: Input size; by default that of the images it was trained on.

    Raises:
        TeacherError: There is no such run or trial, it has not ended well, or its weights are missing, damaged or not
            of this student.
    """
    run, record = _trial(model)
    images = _images(model, run)
    path = run.trial(record.number).weights
    try:
        state = safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TeacherError(f"teacher.model: {path}: the student's weights cannot be read: {reason}") from None
    if state and all(name.startswith(_THROUGH) for name in state):
        raise TeacherError(
            f"teacher.model: the student of {model} answers through its own teacher's classifier (loss simkd), and "
            "cannot teach without it; take a student that was distilled by another loss"
        )
    size = image_size or images.image_size
    try:
        network = build_student(
            record.spec, num_classes=len(images.class_names), channels=images.channels, image_size=size
        )
        network.load_state_dict(state)
    except SpaceError as error:
        raise TeacherError(f"teacher.model: the student of {model} cannot be built again: {error}") from error
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise TeacherError(
            f"teacher.model: {path}: are not the weights of {record.spec.architecture}: {reason}"
        ) from error
    return Teacher(
        network,
        architecture=record.spec.architecture,
        arguments=record.spec.keyword_arguments(),
        channels=images.channels,
        image_size=size,
        preprocess=Preprocess(mean=images.mean, std=images.std, image_size=size),
        class_names=images.class_names,
    )


def student_provenance(model: str) -> StudentProvenance:
    """Return where the student `run:RUN/TRIAL` comes from.

    Raises:
        TeacherError: There is no such run or trial, or one of the run's records is missing or damaged.
    """
    run, record = _trial(model)
    name = run.path.resolve().name
    try:
        teacher = run.read_teacher()
    except RunError as error:
        raise TeacherError(f"teacher.model: {model}: {error}") from error
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
        TeacherError: There is none, or it has no student.
    """
    try:
        folder, number = split_run(model)
        run = RunDirectory(folder).existing()
        record = run.trial(number).read_record()
    except (ValueError, RunError) as error:
        raise TeacherError(f"teacher.model: {error}") from error
    if record is None:
        names = (path.parent.name for path in run.trials.glob("*/result.json"))
        ended = sorted(int(name) for name in names if name.isdecimal())
        known = f"{_some(ended)} have" if ended else "none has"
        raise TeacherError(f"teacher.model: {model}: the run has no trial {number} that has ended; {known}")
    if record.metrics is None:
        raise TeacherError(
            f"teacher.model: {model}: trial {number} {record.status.value}"
            f"{f': {record.error}' if record.error else ''}; take one that is complete"
        )
    return run, record


def _images(model: str, run: RunDirectory) -> _Images:
    try:
        return read_record(run.data_manifest, _Images)
    except RunError as error:
        raise TeacherError(f"teacher.model: {model}: {error}") from error


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
