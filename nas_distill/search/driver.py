"""What happens between proposals and results: the search's bookkeeping, without Ray.

Ray's adapters (`tune`) only pass on what they hear: that a worker is free, that an epoch is done, that a trial ended.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, replace
from typing import Protocol

from nas_distill.errors import ClusterError, NasDistillError
from nas_distill.objectives import Objective
from nas_distill.progress import Progress
from nas_distill.records import TrialRecord, TrialStatus
from nas_distill.search.budget import Budget, BudgetWatch, Spent, left, reached
from nas_distill.search.proposer import ExhaustedSpaceError
from nas_distill.search.status import EndedTrial, search_status
from nas_distill.search.study import StudyLedger
from nas_distill.store import RunDirectory
from nas_distill.trial import end_trial, read_own_result
from nas_distill.workplace import Assignment

_DEATHS_BEFORE_GIVING_UP = 3

_ALIVE_EVERY_S = 60.0
"""So much of the time of searching is at most not told, when the driver is killed."""


class AssignmentSource(Protocol):
    """Where new assignments come from.

    Attributes:
        refused: Candidates that were refused.
    """

    refused: int

    def next(self) -> Assignment:
        """Returns the next assignment, noted in the study.

        Raises:
            ExhaustedSpaceError: There is none left.
            NasDistillError: The search cannot go on.
        """


@dataclass(slots=True)
class _Flight:
    """A trial with a worker: epochs on disk when it was handed out, and now."""

    assignment: Assignment
    before: int
    done: int


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
        watch: Keeps count of the other budgets; None when there is none.

    Attributes:
        failure: Why no more assignments are handed out; None while all is well.
    """

    def __init__(
        self,
        run: RunDirectory,
        ledger: StudyLedger,
        source: AssignmentSource,
        *,
        objectives: tuple[Objective, ...],
        total: int | None,
        max_failures: int,
        progress: Progress,
        assistant: int | None = None,
        watch: BudgetWatch | None = None,
    ) -> None:
        self._run = run
        self._ledger = ledger
        self._source = source
        self._assistant = assistant
        self._quality = next(objective for objective in objectives if objective.kind == "quality")
        self._total = total
        self._watch = watch or BudgetWatch(Budget())
        self._told_enough = False
        self._max_failures = max_failures
        self._deaths: Counter[int] = Counter()
        self._progress = progress
        self._started = self._alive_at = time.monotonic()
        self._running: dict[int, _Flight] = {}
        self._dead_at_start: list[tuple[_Flight, str]] = []
        self._queue: deque[Assignment] = deque()
        self._ended: list[EndedTrial] = []
        self._new = 0
        self.failure: NasDistillError | None = None
        self._reconcile()

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
        in_flight = len(self._running) + len(self._queue) + len(self._dead_at_start)
        return in_flight if self.enough is not None else max(in_flight, self.remaining + self._out - len(self._ended))

    @property
    def new_trials(self) -> int:
        """Trials that ended in this session."""
        return self._new

    def next_assignment(self) -> Assignment | None:
        """Returns what a free worker should do, or None when nothing is left (see `failure`)."""
        if not self.remaining:
            self._say_enough()
            return None
        try:
            assignment = self._queue.popleft() if self._queue else self._source.next()
            done = len(self._run.trial(assignment.number).read_curve())
        except ExhaustedSpaceError as error:
            if not self._ended and not self._running:
                self._fail(error)
                return None
            self._total = self._out
            self._progress.event("exhausted", f"the search ends with {self._total} trials: {error}")
            return None
        except NasDistillError as error:
            self._fail(error)
            return None
        self._running[assignment.number] = _Flight(assignment, before=done, done=done)
        self._say_status()
        return assignment

    def epoch_done(self, number: int, epoch: int) -> None:
        """Notes that a running trial has trained `epoch` epochs."""
        if number in self._running:
            self._running[number].done = epoch
            self.settle()
            if time.monotonic() - self._alive_at >= _ALIVE_EVERY_S:
                self._alive_at = time.monotonic()
                self._run.log_event("alive")
            self._say_status()

    def trial_ended(self, number: int, error: str | None) -> None:
        """Acknowledges a trial's end in the study.

        Args:
            number: The trial's.
            error: One line, when its worker died or raised; its record then may not exist, and is made here.
        """
        if number not in self._running:
            return
        flight = self._running[number]
        try:
            record = read_own_result(flight.assignment, self._run.trial(number))
            if record is None and self._deaths[number] < self._max_failures and self.failure is None:
                self._hand_out_again(self._running.pop(number), error)
                return
            if record is None and flight.done == flight.before:
                self._hold(self._running.pop(number), error or "the worker ended without a result")
                return
            record = record or self._failed(flight, error or "the worker ended without a result")
            self._ledger.tell(record)
        except NasDistillError as problem:
            self._fail(problem)
            return
        del self._running[number]
        self._acknowledged(record, flight)

    def settle(self) -> None:
        """Books trials whose workers died at the start as failed: since others train, the fault was theirs."""
        while self._dead_at_start and self.failure is None:
            flight, error = self._dead_at_start.pop()
            try:
                record = self._failed(flight, error)
                self._ledger.tell(record)
            except NasDistillError as problem:
                self._fail(problem)
                return
            self._acknowledged(record, flight)

    def _hand_out_again(self, flight: _Flight, error: str | None) -> None:
        # Not left to Tune: the death of a reused worker counts there as two failures, of which the second is final.
        number = flight.assignment.number
        self._deaths[number] += 1
        self._queue.appendleft(flight.assignment)
        self._progress.event("retry", f"trial {number} goes on in another worker: {error or 'no result'}")

    def _hold(self, flight: _Flight, error: str) -> None:
        """Waits with a trial whose worker died before its first epoch.

        One may be the candidate's fault; several in a row are the machine's or the cluster's, and then no trial is
        booked as failed: they stay in flight, and a resumed search hands them out again.
        """
        self._dead_at_start.append((flight, error))
        if len(self._dead_at_start) >= _DEATHS_BEFORE_GIVING_UP:
            self._fail(
                ClusterError(
                    f"resources: {len(self._dead_at_start)} workers in a row died before their first epoch (the last: "
                    f"{error}); see `nas_distill doctor`, then go on with --resume {self._run.path}"
                )
            )

    def _failed(self, flight: _Flight, error: str) -> TrialRecord:
        folder = self._run.trial(flight.assignment.number)
        return end_trial(
            flight.assignment,
            folder,
            status=TrialStatus.FAILED,
            curve=folder.read_curve(),
            error=error,
            device="unknown",
        )

    def _acknowledged(self, record: TrialRecord, flight: _Flight) -> None:
        self._new += 1
        self._book(record, epochs_here=max(record.epochs - flight.before, 0))
        self._say_end(record)

    def _reconcile(self) -> None:
        """Takes over from earlier sessions: acknowledges results on disk, queues what was in flight."""
        for record in self._ledger.ended():
            if record.assistant == self._assistant:
                self._book(record, epochs_here=0)
        for assignment in self._ledger.unfinished():
            if assignment.assistant != self._assistant:
                continue
            result = read_own_result(assignment, self._run.trial(assignment.number))
            if result is None:
                self._queue.append(assignment)
            else:
                self._ledger.tell(result)
                self._book(result, epochs_here=0)
        if self._queue:
            numbers = ", ".join(str(assignment.number) for assignment in self._queue)
            self._progress.event("resume", f"going on with trials in flight: {numbers}")

    def _book(self, record: TrialRecord, *, epochs_here: int) -> None:
        self._watch.ended(record)
        self._ended.append(EndedTrial.from_record(record, quality=self._quality.name, epochs_here=epochs_here))

    @property
    def _out(self) -> int:
        """Trials that were handed out and do not wait to be handed out again."""
        return len(self._ended) + len(self._running) + len(self._dead_at_start)

    def _spent(self) -> Spent:
        in_flight = sum(flight.done for flight in self._running.values())
        return self._watch.spent(trials=self._out + len(self._queue), epochs_in_flight=in_flight)

    def _say_enough(self) -> None:
        enough = self.enough
        if self.failure is None and enough is not None and not self._told_enough:
            self._told_enough = True
            if self._out != self._total:
                self._progress.event("budget", f"no further trials are started: {enough}")

    def _fail(self, error: NasDistillError) -> None:
        if self.failure is None:
            self.failure = error
            self._progress.event("error", f"no further trials are started: {error}")

    def _say_end(self, record: TrialRecord) -> None:
        facts = {"number": record.number, "status": record.status.value, "epochs": record.epochs}
        size = f"{record.spec.family}, {record.cost.num_params:,} parameters"
        if record.assistant is not None:
            size += f", taught by trial {record.assistant}"
        if record.metrics is not None:
            value = float(getattr(record.metrics, self._quality.name))
            text = f"trial {record.number}: {self._quality.name} {value:.3g}, {size}, {record.wall_time_s:.1f} s"
            self._run.log_event("trial", **facts, **{self._quality.name: value})
        else:
            text = f"trial {record.number} {record.status.value}: {record.error or 'by the scheduler'} ({size})"
            self._run.log_event("trial", **facts, error=record.error)
        self._progress.event("trial", text)
        self._say_status()

    def _say_status(self) -> None:
        running = {number: (f.done, f.assignment.recipe.epochs) for number, f in self._running.items()}
        self._progress.status(
            search_status(
                total=self._total,
                quality=self._quality.name,
                ended=self._ended,
                running=running,
                inherited=sum(flight.before for flight in self._running.values()),
                left=left(self._watch.budget, self._spent()),
                refused=self._source.refused,
                elapsed_s=time.monotonic() - self._started,
            )
        )
