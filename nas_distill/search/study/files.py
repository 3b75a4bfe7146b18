"""The run's own files of a study: tasks and results of its trials, and its log."""

from __future__ import annotations

from nas_distill.records import TrialRecord, TrialTask
from nas_distill.run_directory.files import read_record
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.study.log import StudyLog


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
