"""What happens between proposals and results: the search's bookkeeping, without Ray.

Ray's adapters (`tune`) only pass on what they hear: that a worker is free, that an epoch is done, that a trial ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from nas_distill.callbacks import EpochEnded, Progress
from nas_distill.errors import ClusterError, NasDistillError, RunError
from nas_distill.objectives import Objective
from nas_distill.records import EpochMetrics, ExecutionInfo, TrialOutcome, TrialRecord, TrialStatus
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.results import end_trial, read_own_result
from nas_distill.search.driver.budget import Budget, BudgetWatch, Spent, left, reached
from nas_distill.search.driver.failures import FailurePolicy, RunningTrial
from nas_distill.search.driver.logger import SearchLogger
from nas_distill.search.early_stopping.curves import EarlyStopper
from nas_distill.search.proposal.proposer import ExhaustedSpaceError
from nas_distill.search.study.ledger import StudyLedger


class TaskSource(Protocol):
    """Where new assignments come from.

    Attributes:
        rejected: Candidates that were refused.
    """

    rejected: int

    def next(self) -> TrialTask:
        """Returns the next assignment, noted in the study.

        Raises:
            ExhaustedSpaceError: There is none left.
            NasDistillError: The search cannot go on.
        """


class SearchDriver:
    """Hands out assignments and books their ends.

    Args:
        run: Where workers write.
        ledger: The study; trials it holds in flight are handed out first.
        source: Where new assignments come from.
        objectives: For the events and the status.
        total: Trials to train, those of earlier sessions included; None for no bound.
        max_failures: How often a trial is handed out again after its worker died.
        progress: Told of everything.
        assistant: Number of the trial whose student teaches in these trials, None for the teacher; all others are
            somebody else's.
        stopping: Decides at rungs which trials go on; None lets all go on.
        watch: Keeps count of the other budgets; None when there is none.

    Attributes:
        failure: Why no more assignments are handed out; None while all is well.
    """

    def __init__(
        self,
        run: RunDirectory,
        ledger: StudyLedger,
        source: TaskSource,
        *,
        objectives: tuple[Objective, ...],
        total: int | None,
        max_failures: int,
        progress: Progress,
        assistant: int | None = None,
        stopping: EarlyStopper | None = None,
        watch: BudgetWatch | None = None,
    ) -> None:
        self._run = run
        self._ledger = ledger
        self._source = source
        self._assistant = assistant
        self._stopping = stopping
        self._total = total
        self._watch = watch or BudgetWatch(Budget())
        self._told_enough = False
        self._failures = FailurePolicy(max_failures)
        quality = next(objective for objective in objectives if objective.kind == "quality")
        self._logger = SearchLogger(run, progress, quality.name)
        self._running: dict[int, RunningTrial] = {}
        self._queue: deque[TrialTask] = deque()
        self._new = 0
        self.failure: NasDistillError | None = None
        self._reconcile()

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which `goes_on` wants to be asked, ascending."""
        return () if self._stopping is None else self._stopping.rungs

    @property
    def remaining(self) -> int:
        """Trials that are not handed out yet; without a bound on their number, one until another is reached."""
        if self.failure is not None:
            return 0
        if self.enough is not None:
            return len(self._queue)  # what is in flight goes on
        return 1 if self._total is None else max(self._total - self._out, 0)

    @property
    def enough(self) -> str | None:
        """Which budget has been reached, in words; None while there is something left of each."""
        return reached(replace(self._watch.budget, trials=self._total), self._spent())

    @property
    def waiting(self) -> bool:
        """Whether trials are out; one whose worker dies is handed out again, unless the search has failed."""
        return bool(self._running) and self.failure is None

    @property
    def unfinished(self) -> int:
        """Trials of the plan that have not ended; without a bound on their number, those in flight and one more."""
        in_flight = len(self._running) + len(self._queue) + len(self._failures)
        return (
            in_flight
            if self.enough is not None
            else max(in_flight, self.remaining + self._out - len(self._logger.tally))
        )

    @property
    def new_trials(self) -> int:
        """Trials that ended in this session."""
        return self._new

    def next_task(self) -> TrialTask | None:
        """Returns what a free worker should do, or None when nothing is left (see `failure`)."""
        while self.remaining:
            try:
                running_trial = self._next_running()
            except ExhaustedSpaceError as error:
                self._end_early(error)
                return None
            except NasDistillError as error:
                self._fail(error)
                return None
            if running_trial is not None:
                self._running[running_trial.task.number] = running_trial
                self._say_status()
                return running_trial.task
        self._say_enough()
        return None

    def epoch_done(self, number: int, epoch: int) -> None:
        """Notes that a running trial has trained `epoch` epochs."""
        if number in self._running:
            self._running[number].done = epoch
            self.settle()
            self._logger.alive()
            self._say_status()

    def report_epochs(self, number: int, curve: Sequence[EpochMetrics]) -> None:
        """Pass the metrics of epochs of a running trial on to callbacks."""
        running_trial = self._running.get(number)
        if running_trial is not None:
            epochs = running_trial.task.recipe.epochs
            for metrics in curve:
                self._logger.epoch_ended(EpochEnded(number=number, epochs=epochs, metrics=metrics))

    def goes_on(self, number: int, epoch: int, execution_info: ExecutionInfo) -> bool:
        """Decides at a rung on a running trial, whose worker waits and has written its curve.

        One that does not go on has ended: its record is written here, and nothing more is expected of its worker.

        Args:
            number: The trial's.
            epoch: Epochs trained.
            execution_info: The worker's share of the record.
        """
        running_trial = self._running.get(number)
        if running_trial is None or epoch <= running_trial.before:
            return True  # what lay on disk when it was handed out was decided on by then
        running_trial.done = epoch
        self.settle()
        try:
            curve = self._run.trial(number).read_curve()
            if not curve or curve[-1].epoch != epoch:
                raise RunError(
                    f"{self._run.trial(number).curve}: does not end at epoch {epoch}, which its worker wrote; "
                    "the run directory must lie on a path that all nodes share"
                )
            if not self._stops(running_trial, curve, execution_info):
                return True
        except NasDistillError as problem:
            self._fail(problem)
        self._running.pop(number, None)
        self._say_status()
        return False

    def trial_ended(self, number: int, error: str | None) -> None:
        """Acknowledges a trial's end in the study.

        Args:
            number: The trial's.
            error: One line, when its worker died or raised; its record then may not exist, and is made here.
        """
        if number not in self._running:
            return
        running_trial = self._running[number]
        try:
            record = read_own_result(running_trial.task, self._run.trial(number))
            if record is None and self.failure is not None:
                self._leave_in_flight(self._running.pop(number), error)
                return
            if record is None and self._failures.forgives(number):
                self._hand_out_again(self._running.pop(number), error)
                return
            if record is None and running_trial.done == running_trial.before:
                self._hold(self._running.pop(number), error or "the worker ended without a result")
                return
            record = record or self._failed(running_trial, error or "the worker ended without a result")
            self._ledger.tell(record)
        except NasDistillError as problem:
            del self._running[number]  # its worker is gone; it stays in flight in the study, for a resumed search
            self._fail(problem)
            return
        del self._running[number]
        self._acknowledged(record, running_trial)

    def settle(self) -> None:
        """Books trials whose workers died at the start as failed: since others train, the fault was theirs."""
        while self.failure is None and (held := self._failures.release()) is not None:
            running_trial, error = held
            try:
                record = self._failed(running_trial, error)
                self._ledger.tell(record)
            except NasDistillError as problem:
                self._fail(problem)
                return
            self._acknowledged(record, running_trial)

    def _next_running(self) -> RunningTrial | None:
        """Takes the next assignment; None when it had come to a rung before and is stopped there now.

        A trial that was cut off just at a rung may not have been decided on.

        Raises:
            ExhaustedSpaceError: There is none left.
            NasDistillError: The search cannot go on.
        """
        task = self._queue.popleft() if self._queue else self._source.next()
        curve = self._run.trial(task.number).read_curve()
        running_trial = RunningTrial(task, before=len(curve), done=len(curve))
        return None if self._stops(running_trial, curve, ExecutionInfo()) else running_trial

    def _stops(self, running_trial: RunningTrial, curve: Sequence[EpochMetrics], execution_info: ExecutionInfo) -> bool:
        """Decides on a trial by the end of its curve; one that stops is booked."""
        task = running_trial.task
        if self._stopping is None or not curve:
            return False
        if not self._stopping.should_stop(task.number, task.cost, curve[-1]):
            return False
        outcome = TrialOutcome(status=TrialStatus.STOPPED, curve=tuple(curve))
        record = TrialRecord(task=task, execution=execution_info, outcome=outcome)
        end_trial(self._run.trial(task.number), record)
        self._ledger.tell(record)
        self._running.pop(task.number, None)
        self._acknowledged(record, running_trial)
        return True

    def _end_early(self, error: ExhaustedSpaceError) -> None:
        if not self._logger.tally and not self._running:
            self._fail(error)
            return
        self._total = self._out
        self._logger.event("exhausted", f"the search ends with {self._total} trials: {error}")

    def _hand_out_again(self, running_trial: RunningTrial, error: str | None) -> None:
        # Not left to Tune: the death of a reused worker counts there as two failures, of which the second is final.
        self._queue.appendleft(running_trial.task)
        self._logger.event(
            "retry", f"trial {running_trial.task.number} goes on in another worker: {error or 'no result'}"
        )

    def _leave_in_flight(self, running_trial: RunningTrial, error: str | None) -> None:
        # Nothing is handed out any more; a record would keep a resumed search from going on with the trial.
        self._logger.event("retry", f"trial {running_trial.task.number} is left to --resume: {error or 'no result'}")
        self._say_status()

    def _hold(self, running_trial: RunningTrial, error: str) -> None:
        """Waits with a trial whose worker died before its first epoch.

        When several did in a row no trial is booked as failed: they stay in flight, and a resumed search hands them out
        again.
        """
        reason = self._failures.hold(running_trial, error)
        if reason is not None:
            self._fail(
                ClusterError(
                    f"resources: {reason}; see `nas_distill doctor`, then go on with --resume {self._run.path}"
                )
            )

    def _failed(self, running_trial: RunningTrial, error: str) -> TrialRecord:
        folder = self._run.trial(running_trial.task.number)
        outcome = TrialOutcome(status=TrialStatus.FAILED, curve=folder.read_curve(), error=error)
        return end_trial(folder, TrialRecord(task=running_trial.task, outcome=outcome))

    def _acknowledged(self, record: TrialRecord, running_trial: RunningTrial) -> None:
        self._new += 1
        self._book(record, epochs_here=max(record.epochs - running_trial.before, 0))
        self._logger.ended(record)
        self._say_status()

    def _reconcile(self) -> None:
        """Takes over from earlier sessions: acknowledges results on disk, queues what was in flight."""
        for record in self._ledger.ended():
            if record.assistant == self._assistant:
                self._book(record, epochs_here=0)
        for task in self._ledger.unfinished():
            if task.assistant != self._assistant:
                continue
            result = read_own_result(task, self._run.trial(task.number))
            if result is None:
                self._queue.append(task)
                if self._stopping is not None:
                    curve = self._run.trial(task.number).read_curve()
                    self._stopping.record(task.number, task.cost, curve)
            else:
                self._ledger.tell(result)
                self._book(result, epochs_here=0)
        if self._queue:
            numbers = ", ".join(str(task.number) for task in self._queue)
            self._logger.event("resume", f"going on with trials in flight: {numbers}")

    def _book(self, record: TrialRecord, *, epochs_here: int) -> None:
        if self._stopping is not None:
            self._stopping.record(record.number, record.cost, record.curve)
        self._watch.ended(record)
        self._logger.tally.add(record, epochs_here=epochs_here)

    @property
    def _out(self) -> int:
        """Trials that were handed out and do not wait to be handed out again."""
        return len(self._logger.tally) + len(self._running) + len(self._failures)

    def _spent(self) -> Spent:
        in_flight = sum(running_trial.done for running_trial in self._running.values())
        return self._watch.spent(trials=self._out + len(self._queue), epochs_in_flight=in_flight)

    def _say_enough(self) -> None:
        enough = self.enough
        if self.failure is None and enough is not None and not self._told_enough:
            self._told_enough = True
            if self._out != self._total:
                self._logger.event("budget", f"no further trials are started: {enough}")

    def _fail(self, error: NasDistillError) -> None:
        if self.failure is None:
            self.failure = error
            self._logger.event("error", f"no further trials are started: {error}")

    def _say_status(self) -> None:
        self._logger.status(
            total=self._total,
            running={number: (f.done, f.task.recipe.epochs) for number, f in self._running.items()},
            inherited=sum(running_trial.before for running_trial in self._running.values()),
            left=left(self._watch.budget, self._spent()),
            rejected=self._source.rejected,
        )
