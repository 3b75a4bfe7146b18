"""Records how trials end: in the trial's folder, the study, the early stopping rule, the budgets and the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nas_distill.errors import RunError
from nas_distill.records import EpochMetrics, ExecutionInfo, TrialOutcome, TrialRecord, TrialStatus
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.results import end_trial, read_own_result
from nas_distill.search.driver.budget import BudgetWatch
from nas_distill.search.driver.logger import SearchLogger
from nas_distill.search.early_stopping.curves import EarlyStopper
from nas_distill.search.study.ledger import StudyLedger


@dataclass(slots=True)
class RunningTrial:
    """A trial that a worker trains.

    Attributes:
        task: What the worker trains.
        before: Number of epochs on disk when the worker got the task.
        done: Number of epochs trained by now.
        started: Whether it has a worker; until then it is queued.
    """

    task: TrialTask
    before: int
    done: int
    started: bool = False


class TrialRecorder:
    """Writes results of trials, and keeps everything that counts them up to date.

    Args:
        run: The run directory.
        ledger: The study.
        logger: Log and progress of the search; counts the ended trials.
        watch: Counts what the search has used of its budgets.
        stopping: Early stopping rule; None when no trial is stopped early.

    Attributes:
        new_trials: Number of trials that ended in this session.
    """

    def __init__(
        self,
        run: RunDirectory,
        ledger: StudyLedger,
        logger: SearchLogger,
        watch: BudgetWatch,
        stopping: EarlyStopper | None,
    ) -> None:
        self._run = run
        self._ledger = ledger
        self._logger = logger
        self._watch = watch
        self._stopping = stopping
        self.new_trials = 0

    @property
    def ended(self) -> int:
        """Number of ended trials, those of earlier sessions included."""
        return len(self._logger.counts)

    def take_over(self, assistant: int | None) -> list[TrialTask]:
        """Count the trials of earlier sessions, and return the tasks that were in flight when those ended.

        A result on disk that the study lacks (the driver died in between) is added to the study.

        Args:
            assistant: Number of the trial whose student teaches in the trials of this search; None for the teacher.

        Raises:
            RunError: A result is damaged or belongs to another study.
            StudyError: The study cannot be used.
        """
        for record in self._ledger.ended():
            if record.assistant == assistant:
                self._count(record, epochs_here=0)
        in_flight = []
        for task in self._ledger.unfinished():
            if task.assistant != assistant:
                continue
            record_on_disk = self.read(task)
            if record_on_disk is None:
                in_flight.append(task)
                if self._stopping is not None:
                    self._stopping.record(task.number, task.cost, self.read_curve(task))
            else:
                self._ledger.tell(record_on_disk)
                self._count(record_on_disk, epochs_here=0)
        return in_flight

    def read(self, task: TrialTask) -> TrialRecord | None:
        """Return the record that a worker wrote; None when it wrote none.

        Raises:
            RunError: The record is damaged or belongs to another study.
        """
        return read_own_result(task, self._run.trial(task.number))

    def read_curve(self, task: TrialTask) -> tuple[EpochMetrics, ...]:
        """Return the learning curve on disk, empty when there is none."""
        return self._run.trial(task.number).read_curve()

    def read_curve_to(self, task: TrialTask, epoch: int) -> tuple[EpochMetrics, ...]:
        """Return the learning curve on disk, which a worker has just written.

        Raises:
            RunError: It does not end at `epoch`.
        """
        curve = self.read_curve(task)
        if not curve or curve[-1].epoch != epoch:
            raise RunError(
                f"does not end at epoch {epoch}, which its worker wrote; put the run directory on a path that all "
                "nodes share",
                code="cluster.path_not_shared",
                field=str(self._run.trial(task.number).curve),
            )
        return curve

    def record(self, record: TrialRecord, running: RunningTrial) -> None:
        """Record the result of a trial that is on disk.

        Raises:
            StudyError: The study cannot be used.
        """
        self._ledger.tell(record)
        self.new_trials += 1
        self._count(record, epochs_here=max(record.epochs - running.before, 0))
        self._logger.ended(record)

    def fail(self, running: RunningTrial, error: str) -> None:
        """Record a trial without a result as failed, with its learning curve so far.

        Raises:
            NasDistillError: The trial's folder or the study cannot be used.
        """
        outcome = TrialOutcome(status=TrialStatus.FAILED, curve=self.read_curve(running.task), error=error)
        self._end(running, TrialRecord(task=running.task, outcome=outcome))

    def stop_if_weak(self, running: RunningTrial, curve: Sequence[EpochMetrics], execution_info: ExecutionInfo) -> bool:
        """Decide at the end of a learning curve whether the trial is stopped early, and record one that is.

        Returns:
            Whether the trial was stopped.

        Raises:
            NasDistillError: The trial's folder or the study cannot be used.
        """
        task = running.task
        if self._stopping is None or not curve or not self._stopping.should_stop(task.number, task.cost, curve[-1]):
            return False
        outcome = TrialOutcome(status=TrialStatus.STOPPED, curve=tuple(curve))
        self._end(running, TrialRecord(task=task, execution=execution_info, outcome=outcome))
        return True

    def _end(self, running: RunningTrial, record: TrialRecord) -> None:
        self.record(end_trial(self._run.trial(running.task.number), record), running)

    def _count(self, record: TrialRecord, *, epochs_here: int) -> None:
        if self._stopping is not None:
            self._stopping.record(record.number, record.cost, record.curve)
        self._watch.ended(record)
        self._logger.counts.add(record, epochs_here=epochs_here)
