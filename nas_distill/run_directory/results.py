"""How a trial's end gets into its folder, and whether the study has it. No torch."""

from __future__ import annotations

import shutil
from collections.abc import Collection

from nas_distill.errors import RunError, StudyError
from nas_distill.records import TrialRecord, TrialTask
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.trial_folder import TrialFolder


def read_own_result(task: TrialTask, folder: TrialFolder) -> TrialRecord | None:
    """Return the record of the task's trial, or None when the trial has not ended.

    Raises:
        RunError: The result is damaged or belongs to another task, so the folder belongs to another study.
    """
    result = folder.read_result()
    if result is None:
        return None
    if result.task_digest != task.digest():
        raise RunError(
            f"belongs to another candidate, recipe, seed or teacher than trial {task.number} of the study; "
            f"{_fix(task, folder)}",
            code="run.foreign_result",
            field=str(folder.result),
        )
    return TrialRecord(task=task, execution=result.execution, outcome=result.outcome)


def _fix(task: TrialTask, folder: TrialFolder) -> str:
    if task.fold is None and task.confirmation is None:
        return "restore the study and the run directory from the same time, or choose another --out"
    # Repeated trainings are planned from the trial, by rules that another version may not share.
    return f"another version of nas_distill or another study wrote it: move {folder.path.parents[1]} away and repeat"


def folder_of(run: RunDirectory, task: TrialTask) -> TrialFolder:
    """Return the folder that the task's training writes."""
    if task.confirmation is not None:
        return run.confirmation(task.number, task.confirmation, task.fold)
    if task.fold is not None:
        return run.fold(task.number, task.fold)
    return run.trial(task.number)


def end_trial(folder: TrialFolder, record: TrialRecord) -> TrialRecord:
    """Write curve, task and result of an ended trial, remove its checkpoint, and return its record.

    Raises:
        RunError: The folder cannot be written.
    """
    folder.write_curve(record.curve)
    folder.write_record(record)
    shutil.rmtree(folder.checkpoint.parent, ignore_errors=True)
    return record


def incomplete_study(run: RunDirectory, missing: Collection[int], origin: str) -> StudyError:
    """Return the error for a study that lacks trials of the run directory.

    Args:
        run: The run directory.
        missing: Numbers of these trials.
        origin: Database of the study.
    """
    return StudyError(
        f"lacks {len(missing)} of the {len(run.trial_numbers())} trials in {run.trials} (the first is "
        f"{min(missing)}); run `nas_distill repair {run.path}` to build the study from them, or restore "
        "resources.storage and resources.study_name in config.yaml",
        code="study.incomplete",
        field=origin,
    )
