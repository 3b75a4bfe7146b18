"""The student of a run's trial as a teacher: `run:RUN/TRIAL`."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from pydantic import ConfigDict, PositiveInt
from safetensors import SafetensorError
from torch import nn

from nas_distill.config import RUN
from nas_distill.errors import RunError, SpaceError, TeacherError
from nas_distill.frozen import Record
from nas_distill.models.preprocess import Preprocess
from nas_distill.models.student import build_student
from nas_distill.models.teacher_network import Teacher
from nas_distill.records import TeacherLink, TrialRecord
from nas_distill.store import RunDirectory, read_record

_THROUGH_TEACHER = {"backbone", "projector"}
"""What the weights of a student that answers through its teacher's classifier are called."""


class _Images(Record):
    """What a student needs to know of its run's images: some fields of `data.json`."""

    model_config = ConfigDict(extra="ignore")

    class_names: tuple[str, ...]
    image_size: PositiveInt
    channels: PositiveInt
    mean: tuple[float, ...]
    std: tuple[float, ...]
    data_id: str


class Ancestry(Record):
    """Where the student of a trial comes from.

    Attributes:
        trained_on_data_id: Digest of the data and splits of its run.
        lineage: What taught it, oldest first, and itself last.
    """

    trained_on_data_id: str
    lineage: tuple[TeacherLink, ...]


def load_trial(reference: str, *, image_size: int | None = None) -> Teacher:
    """Loads the student of a complete trial, without dropout.

    Args:
        reference: `run:RUN/TRIAL`, the run's folder and the trial's number.
        image_size: Pixels at which it is asked; by default those of its run's images.

    Raises:
        TeacherError: There is no such run or trial, the trial has no student, its files are damaged, or its student
            answers through its teacher's classifier.
    """
    run, number = _parsed(reference)
    images, record = _read_images(run, reference), _read_trial(run, number, reference)
    return Teacher(
        _load_student(run, record, images, reference),
        architecture=record.spec.architecture,
        arguments=record.spec.keyword_arguments(),
        channels=images.channels,
        image_size=image_size or images.image_size,
        preprocess=Preprocess(mean=images.mean, std=images.std, image_size=image_size or images.image_size),
        class_names=images.class_names,
    )


def read_ancestry(reference: str) -> Ancestry:
    """Returns where the student of a trial comes from.

    Raises:
        TeacherError: As `load_trial`; the run's teacher and the trial's assistants must be on record, too.
    """
    run, number = _parsed(reference)
    images = _read_images(run, reference)
    name = run.path.resolve().name
    students: list[TeacherLink] = []
    following: int | None = number
    while following is not None:
        record = _read_trial(run, following, reference)
        assert record.metrics is not None
        students.append(
            TeacherLink(
                run=name,
                trial=following,
                architecture=record.spec.architecture,
                num_params=record.cost.num_params,
                top1=record.metrics.top1,
            )
        )
        # An assistant's trial comes before those of its students.
        following = record.assistant if record.assistant is None or record.assistant < following else None
    try:
        teacher = run.read_teacher()
    except RunError as error:
        raise _refused(reference, str(error)) from error
    first = TeacherLink(
        run=name, architecture=teacher.architecture, num_params=teacher.cost.num_params, top1=teacher.top1
    )
    return Ancestry(
        trained_on_data_id=images.data_id, lineage=(*(teacher.lineage or (first,)), *reversed(students))
    )


def _parsed(reference: str) -> tuple[RunDirectory, int]:
    path = Path(reference.removeprefix(RUN))
    if not (path.name.isascii() and path.name.isdigit()):
        raise _refused(reference, f"'{path.name}' is no trial number; write {RUN}RUN/TRIAL, such as {RUN}runs/digits/12")
    return RunDirectory(path.parent), int(path.name)


def _read_images(run: RunDirectory, reference: str) -> _Images:
    if not run.data_manifest.is_file():
        raise _refused(reference, f"{run.path} holds no run (no {run.data_manifest.name}); check the folder")
    try:
        return read_record(run.data_manifest, _Images)
    except RunError as error:
        raise _refused(reference, str(error)) from error


def _read_trial(run: RunDirectory, number: int, reference: str) -> TrialRecord:
    folder = run.trial(number)
    way_out = "take a complete trial, see the run's report"
    if not folder.path.is_dir():
        raise _refused(reference, f"{run.path} has no trial {number}; {way_out}")
    try:
        record = folder.read_result()
    except RunError as error:
        raise _refused(reference, str(error)) from error
    if record is None:
        raise _refused(reference, f"trial {number} has not ended; {way_out}")
    if record.metrics is None:
        raise _refused(reference, f"trial {number} is {record.status.value}, not complete; {way_out}")
    if not folder.weights.is_file():
        raise _refused(reference, f"{folder.weights} is missing; restore it, or {way_out}")
    return record


def _load_student(run: RunDirectory, record: TrialRecord, images: _Images, reference: str) -> nn.Module:
    weights = run.trial(record.number).weights
    damaged = f"{weights} cannot be loaded into {record.spec.architecture}"
    try:
        state = safetensors.torch.load_file(weights)
    except (OSError, SafetensorError) as error:
        raise _refused(reference, f"{damaged}: {_first_line(error)}; restore it, or take another trial") from error
    if {name.partition(".")[0] for name in state} >= _THROUGH_TEACHER:
        raise _refused(
            reference,
            f"trial {record.number}'s student answers through its teacher's classifier (simkd) and is no network of its "
            "own; take the student of another loss",
        )
    try:
        network = build_student(
            record.spec,
            num_classes=len(images.class_names),
            channels=images.channels,
            image_size=images.image_size,
        )
    except SpaceError as error:
        raise _refused(reference, f"{error} (a space of one's own may register it)") from error
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise _refused(reference, f"{damaged}: {_first_line(error)}; restore it, or take another trial") from error
    return network


def _refused(reference: str, reason: str) -> TeacherError:
    return TeacherError(f"teacher.model: '{reference}': {reason}")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # torch's first line only names the class; the second says what is wrong.
    return next(iter(lines[1:] or lines), type(error).__name__)
