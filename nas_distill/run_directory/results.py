"""How a trial's folder comes to hold its end, by the worker or by the driver for it. Imports no torch."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from pydantic import Field, NonNegativeInt

from nas_distill.errors import RunError
from nas_distill.records import EpochMetrics, Execution, StudentMetrics, TrialRecord, TrialStatus
from nas_distill.records.base import Record
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.files import write_record
from nas_distill.run_directory.layout import RunDirectory, TrialFolder


class ExecutionInfo(Record):
    """How a trial was run: what only its worker knows.

    Attributes:
        resumptions: How often it went on from a checkpoint.
        device: Device that trained it, such as "cpu" or the accelerator's name; "unknown" when its worker is gone.
        execution: How it was run there.
        released_classes: Classes on which the teacher's say was dropped so far.
    """

    resumptions: NonNegativeInt = 0
    device: str = "unknown"
    execution: Execution = Field(default_factory=Execution)
    released_classes: tuple[int, ...] = ()


_IDENTITY = ("spec", "recipe", "seed", "assistant", "fold", "confirmation")
"""What a record and its assignment have in common."""


def read_own_result(task: TrialTask, folder: TrialFolder) -> TrialRecord | None:
    """Returns the record of the assignment's trial, or None when it has not ended.

    Raises:
        RunError: The record is damaged, or of another candidate, recipe, seed or teacher: the folder belongs to another
            study.
    """
    record = folder.read_result()
    if record is None:
        return None
    if any(getattr(record, name) != getattr(task, name) for name in _IDENTITY):
        raise RunError(
            f"{folder.result}: is of another candidate, recipe, seed or teacher than the study's trial "
            f"{task.number}; {_way_out(task, folder)}"
        )
    return record


def _way_out(task: TrialTask, folder: TrialFolder) -> str:
    if task.fold is None and task.confirmation is None:
        return (
            "the study and the run directory do not belong together: restore the one that does, or choose another --out"
        )
    # Trainings that repeat a trial are planned from it, by rules that another version may have had otherwise.
    return f"another version of nas_distill, or another study, left it: move {folder.path.parents[1]} away and go on"


def folder_of(run: RunDirectory, task: TrialTask) -> TrialFolder:
    """Returns where the assignment's training writes."""
    if task.confirmation is not None:
        return run.confirmation(task.number, task.confirmation, task.fold)
    if task.fold is not None:
        return run.fold(task.number, task.fold)
    return run.trial(task.number)


def trial_record(
    task: TrialTask,
    *,
    status: TrialStatus,
    curve: Sequence[EpochMetrics],
    execution_info: ExecutionInfo | None = None,
    metrics: StudentMetrics | None = None,
    error: str | None = None,
) -> TrialRecord:
    """Returns the record of the assignment's trial; fields as in `TrialRecord`, unknown circumstances by default."""
    execution_info = execution_info or ExecutionInfo()
    return TrialRecord(
        number=task.number,
        seed=task.seed,
        spec=task.spec,
        recipe=task.recipe,
        cost=task.cost,
        status=status,
        epochs=len(curve),
        curve=tuple(curve),
        metrics=metrics,
        error=error,
        resumptions=execution_info.resumptions,
        wall_time_s=sum(point.wall_time_s for point in curve),
        device=execution_info.device,
        execution=execution_info.execution,
        assistant=task.assistant,
        fold=task.fold,
        confirmation=task.confirmation,
        released_classes=execution_info.released_classes,
    )


def end_trial(folder: TrialFolder, record: TrialRecord) -> TrialRecord:
    """Writes curve and record, removes the checkpoint, and returns the record.

    Raises:
        RunError: The folder cannot be written.
    """
    folder.write_curve(record.curve)
    write_record(folder.result, record)
    shutil.rmtree(folder.checkpoint.parent, ignore_errors=True)
    return record
