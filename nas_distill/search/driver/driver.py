"""Decides which trial a free worker runs next, and what happens when a worker reports or dies. No Ray.

The adapters in `backend.tune` call it when a worker is free, when an epoch is done and when a trial ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from nas_distill.callbacks import EpochEnded, Progress, SearchStatus
from nas_distill.errors import ClusterError, NasDistillError
from nas_distill.objectives import Objective
from nas_distill.records import EpochMetrics, ExecutionInfo
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.driver.budget import BudgetWatch, Spent, left, reached
from nas_distill.search.driver.failures import Decision, FailurePolicy
from nas_distill.search.driver.logger import SearchLogger
from nas_distill.search.driver.recorder import RunningTrial, TrialRecorder
from nas_distill.search.early_stopping.curves import EarlyStopper
from nas_distill.search.proposal.proposer import ExhaustedSpaceError
from nas_distill.search.study.ledger import StudyLedger

_NO_RESULT = "the worker ended without a result"


class TaskSource(Protocol):
    """Where new tasks come from.

    Attributes:
        rejected: Number of candidates that were rejected before training.
    """

    rejected: int

    def next(self) -> TrialTask:
        """Return the next task, which the study then holds.

        Raises:
            ExhaustedSpaceError: There is none left.
            NasDistillError: The search cannot continue.
        """


class SearchDriver:
    """Schedules tasks and handles their results.

    Args:
        run: The run directory.
        ledger: The study; the trials that it holds in flight are scheduled first.
        source: Where new tasks come from.
        objectives: Objectives of the search.
        watch: Budgets of the search, and what it has used of them.
        max_failures: How often a trial is scheduled again after its worker died.
        progress: Watcher of the search.
        assistant: Number of the trial whose student teaches in the trials of this search; None for the teacher. Trials
            of other teachers in the same study are ignored.
        stopping: Early stopping rule; None lets every trial finish.

    Attributes:
        failure: The error that ended scheduling; None while there is none.
    """

    def __init__(
        self,
        run: RunDirectory,
        ledger: StudyLedger,
        source: TaskSource,
        *,
        objectives: tuple[Objective, ...],
        watch: BudgetWatch,
        max_failures: int,
        progress: Progress,
        assistant: int | None = None,
        stopping: EarlyStopper | None = None,
    ) -> None:
        self._run = run
        self._source = source
        self._watch = watch
        self._stopping = stopping
        # A trial that is given up is recorded as failed for good, so workers stay under suspicion after a success.
        self._policy = FailurePolicy(max_failures, stop_after_success=True)
        quality = next(objective for objective in objectives if objective.kind == "quality")
        self._logger = SearchLogger(run, progress, quality.name)
        self._recorder = TrialRecorder(run, ledger, self._logger, watch, stopping)
        self._running: dict[int, RunningTrial] = {}
        self._held: list[tuple[RunningTrial, str]] = []
        self._exhausted: str | None = None
        self._budget_reported = False
        self.failure: NasDistillError | None = None
        self._queue = deque(self._recorder.take_over(assistant))
        if self._queue:
            numbers = ", ".join(str(task.number) for task in self._queue)
            self._logger.event("resume", f"continuing with trials in flight: {numbers}")

    @property
    def rungs(self) -> tuple[int, ...]:
        """Numbers of epochs after which `goes_on` must be called, ascending."""
        return () if self._stopping is None else self._stopping.rungs

    @property
    def remaining(self) -> int:
        """Number of trials that are not scheduled yet; 1 while no number bounds them and no budget is reached."""
        if self.failure is not None:
            return 0
        if self.enough is not None:
            return len(self._queue)  # trials in flight are finished
        max_trials = self._watch.budget.most_trials
        return 1 if max_trials is None else max(max_trials - self._scheduled, 0)

    @property
    def startable(self) -> int | None:
        """Number of trials that could start now if there were workers; None while no number bounds them."""
        bounded = self.failure is not None or self.enough is not None or self._watch.budget.most_trials is not None
        return self.remaining if bounded else None

    @property
    def live(self) -> int:
        """Number of trials that run or wait for their worker."""
        return len(self._running)

    @property
    def queued(self) -> int:
        """Number of trials that wait for their worker."""
        return sum(not running.started for running in self._running.values())

    @property
    def enough(self) -> str | None:
        """Why no new trials are started, in words: the budget that is reached; None while some of each is left."""
        return self._exhausted or reached(self._watch.budget, self._spent())

    @property
    def waiting(self) -> bool:
        """Whether trials are running that could be scheduled again if their workers died."""
        return bool(self._running) and self.failure is None

    @property
    def unfinished(self) -> int:
        """Number of planned trials that have not ended; without a bound on trials, those in flight and one more."""
        in_flight = len(self._running) + len(self._queue) + len(self._held)
        if self.enough is not None:
            return in_flight
        return max(in_flight, self.remaining + self._scheduled - self._recorder.ended)

    @property
    def new_trials(self) -> int:
        """Number of trials that ended in this session."""
        return self._recorder.new_trials

    def watch_status(self, watcher: Callable[[SearchStatus], None]) -> None:
        """Call `watcher` with the state of the search whenever it changes."""
        self._logger.status_watchers.append(watcher)

    def next_task(self) -> TrialTask | None:
        """Return the next task for a free worker, or None when there is none (see `failure`)."""
        while self.remaining:
            try:
                running = self._next_running()
            except ExhaustedSpaceError as error:
                self._end_early(error)
                return None
            except NasDistillError as error:
                self._fail(error)
                return None
            if running is not None:
                self._running[running.task.number] = running
                self._report_status()
                return running.task
        self._report_budget()
        return None

    def trial_started(self, number: int) -> None:
        """Note that the trial `number` has a worker."""
        if number in self._running:
            self._running[number].started = True
            self._report_status()

    def epoch_done(self, number: int, epoch: int) -> None:
        """Note that the running trial `number` has trained `epoch` epochs."""
        if number in self._running:
            self._running[number].done = epoch
            self._running[number].started = True
            self.settle()
            self._logger.alive()
            self._report_status()

    def report_epochs(self, number: int, curve: Sequence[EpochMetrics]) -> None:
        """Pass the metrics of epochs of a running trial on to callbacks."""
        running = self._running.get(number)
        if running is not None:
            epochs = running.task.recipe.epochs
            for metrics in curve:
                self._logger.epoch_ended(EpochEnded(number=number, epochs=epochs, metrics=metrics))

    def goes_on(self, number: int, epoch: int, execution_info: ExecutionInfo) -> bool:
        """Decide at a rung whether a running trial continues. Its worker waits and has written the learning curve.

        A trial that is stopped is recorded here; nothing more is expected of its worker.

        Args:
            number: Number of the trial.
            epoch: Number of epochs trained.
            execution_info: The execution part of the trial's record.
        """
        running = self._running.get(number)
        if running is None or epoch <= running.before:
            return True
        running.done = epoch
        self.settle()
        try:
            curve = self._recorder.read_curve_to(running.task, epoch)
            if not self._recorder.stop_if_weak(running, curve, execution_info):
                return True
        except NasDistillError as problem:
            self._fail(problem)
        del self._running[number]
        self._report_status()
        return False

    def trial_ended(self, number: int, error: str | None) -> None:
        """Record the end of a running trial; the end of any other trial is ignored.

        Args:
            number: Number of the trial.
            error: Why its worker died, as one line; None when the worker ended normally.
        """
        running = self._running.pop(number, None)
        if running is None:
            return
        try:
            record = self._recorder.read(running.task)
            if record is not None:
                self._recorder.record(record, running)
            else:
                self._worker_died(running, error or _NO_RESULT)
        except NasDistillError as problem:
            self._fail(problem)  # the trial stays in flight in the study, for a resumed search
        self._report_status()

    def settle(self) -> None:
        """Record held trials as failed: another trial made progress, so their workers' deaths were their own fault."""
        if self.failure is not None:
            return
        self._policy.succeeded()
        if not self._held:
            return
        try:
            while self._held:
                self._recorder.fail(*self._held.pop())
        except NasDistillError as problem:
            self._fail(problem)
        self._report_status()

    def _next_running(self) -> RunningTrial | None:
        """Return the next trial; None when it was interrupted at a rung and is stopped there now.

        Raises:
            ExhaustedSpaceError: There is none left.
            NasDistillError: The search cannot continue.
        """
        task = self._queue.popleft() if self._queue else self._source.next()
        curve = self._recorder.read_curve(task)
        running = RunningTrial(task, before=len(curve), done=len(curve))
        return None if self._recorder.stop_if_weak(running, curve, ExecutionInfo()) else running

    def _worker_died(self, running: RunningTrial, error: str) -> None:
        """Schedule the trial again, record it as failed, or hold it until others show whose fault it was.

        Raises:
            NasDistillError: The trial's folder or the study cannot be used.
        """
        number = running.task.number
        if self.failure is not None:
            # No task is scheduled any more; a record would keep a resumed search from continuing with the trial.
            self._logger.event("retry", f"trial {number} is left to --resume: {error}")
            return
        made_progress = running.done != running.before
        decision = self._policy.failed(number, made_progress=made_progress)
        if decision is Decision.RETRY:
            self._queue.appendleft(running.task)
            self._logger.retry(number, error)
        elif made_progress:
            self._recorder.fail(running, error)
        else:
            self._held.append((running, error))
            if decision is Decision.STOP:
                self._fail(self._workers_died(error))

    def _workers_died(self, error: str) -> ClusterError:
        # No trial is recorded as failed: they stay in flight, and a resumed search schedules them again.
        return ClusterError(
            f"{self._policy.given_up_in_a_row} trials in a row lost their workers before their first epoch (the last: "
            f"{error}); run `nas_distill doctor`, then continue with --resume {self._run.path}",
            code="cluster.workers_died",
            field="resources",
        )

    def _end_early(self, error: ExhaustedSpaceError) -> None:
        if not self._recorder.ended and not self._running:
            self._fail(error)
            return
        self._exhausted = "every candidate of the space was tried"
        self._budget_reported = True
        self._logger.event("exhausted", f"the search ends with {self._scheduled} trials: {error}")

    @property
    def _scheduled(self) -> int:
        """Number of trials that were scheduled and do not wait to be scheduled again."""
        return self._recorder.ended + len(self._running) + len(self._held)

    def _spent(self) -> Spent:
        in_flight = sum(running.done for running in self._running.values())
        return self._watch.spent(trials=self._scheduled + len(self._queue), epochs_in_flight=in_flight)

    def _report_budget(self) -> None:
        enough = self.enough
        if self.failure is None and enough is not None and not self._budget_reported:
            self._budget_reported = True
            if self._scheduled != self._watch.budget.most_trials:
                self._logger.event("budget", f"no further trials are started: {enough}")

    def _fail(self, error: NasDistillError) -> None:
        if self.failure is None:
            self.failure = error
            self._logger.event("error", f"no further trials are started: {error}")

    def _report_status(self) -> None:
        spent = self._spent()
        self._logger.status(
            total=spent.trials if self._exhausted else self._watch.budget.most_trials,
            running={
                number: (one.done, one.task.recipe.epochs) for number, one in self._running.items() if one.started
            },
            queued=self.queued,
            inherited=sum(one.before for one in self._running.values() if one.started),
            left=left(self._watch.budget, spent),
            rejected=self._source.rejected,
        )
