"""The run's own files of a study, which stand in for records that are damaged in the database."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from optuna.trial import FrozenTrial

from nas_distill.errors import RunError
from nas_distill.records import TrialRecord, TrialResult, TrialTask
from nas_distill.records.base import RecordT, parse_sealed
from nas_distill.run_directory.files import read_record
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.study.log import RESULT, TASK, StudyLog


class StudyFiles:
    """The files of a run that hold everything that its study holds.

    Args:
        run: The run directory.

    Attributes:
        log: Log of the study.
    """

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self.log = StudyLog(run)

    def read_task(self, number: int) -> TrialTask:
        """Return the task of a trial.

        Raises:
            RunError: The file is missing or damaged.
        """
        return read_record(self._run.trial(number).task, TrialTask)

    def read_record(self, number: int) -> TrialRecord | None:
        """Return the record of a trial, or None when it has not ended.

        Raises:
            RunError: A file is missing or damaged.
        """
        return self._run.trial(number).read_record()


class RecordReader:
    """Reads tasks and records of the trials of a study, from the run's files where the database is damaged.

    Args:
        files: The run's files; None for none, so that damage is an error.

    Attributes:
        damaged: Numbers of the trials whose records are damaged in both places.
    """

    def __init__(self, files: StudyFiles | None) -> None:
        self._files = files
        self.damaged: set[int] = set()

    def task_of(self, trial: FrozenTrial) -> TrialTask | None:
        """Return the task of an assigned trial, or None where it is damaged in both places.

        Raises:
            RunError: Another version wrote it, or it is damaged and there are no files.
        """
        try:
            return parse_sealed(TrialTask, trial.user_attrs[TASK], origin=_origin(trial))
        except RunError as error:
            return self._healed(trial, error, StudyFiles.read_task)

    def record_of(self, trial: FrozenTrial) -> TrialRecord | None:
        """Return the record of an ended trial, or None where it is damaged in both places.

        Raises:
            RunError: Another version wrote it, or it is damaged and there are no files.
        """
        origin = _origin(trial)
        try:
            result = parse_sealed(TrialResult, trial.user_attrs[RESULT], origin=origin)
            task = parse_sealed(TrialTask, trial.user_attrs[TASK], origin=origin)
            return TrialRecord.compose(task, result, origin=origin)
        except RunError as error:
            return self._healed(trial, error, StudyFiles.read_record)

    def _healed(
        self, trial: FrozenTrial, error: RunError, read: Callable[[StudyFiles, int], RecordT | None]
    ) -> RecordT | None:
        if error.code == "run.other_version" or self._files is None:
            raise error
        with suppress(RunError):
            record = read(self._files, trial.number)
            if record is not None:
                return record
        self.damaged.add(trial.number)
        return None


def _origin(trial: FrozenTrial) -> str:
    return f"trial {trial.number} of the study"
