"""What happens between proposals and results: the search's bookkeeping, without Ray.

Ray's adapters (`tune`) only pass on what they hear: that a worker is free, that an epoch is done, that a trial ended.
"""

from __future__ import annotations

import time
from collections import deque

from nas_distill.errors import NasDistillError
from nas_distill.objectives import Objective
from nas_distill.progress import Progress
from nas_distill.records import TrialRecord, TrialStatus
from nas_distill.search.proposer import Proposer
from nas_distill.search.status import EndedTrial, search_status
from nas_distill.search.study import StudyLedger
from nas_distill.store import RunDirectory
from nas_distill.trial import end_trial
from nas_distill.workplace import Assignment


class SearchDriver:
    """Hands out assignments and books their ends.

    Args:
        run: Where workers write.
        ledger: The study; trials it holds in flight are handed out first.
        proposer: Where new assignments come from.
        objectives: For the events and the status.
        total: Trials to train, those of earlier sessions included.
        progress: Told of everything.

    Attributes:
        failure: Why no more assignments are handed out; None while all is well.
    """

    def __init__(
        self,
        run: RunDirectory,
        ledger: StudyLedger,
        proposer: Proposer,
        *,
        objectives: tuple[Objective, ...],
        total: int,
        progress: Progress,
    ) -> None:
        self._run = run
        self._ledger = ledger
        self._proposer = proposer
        self._quality = next(objective for objective in objectives if objective.kind == "quality")
        self._total = total
        self._progress = progress
        self._started = time.monotonic()
        self._running: dict[int, tuple[Assignment, int, int]] = {}
        self._queue: deque[Assignment] = deque()
        self._ended: list[EndedTrial] = []
        self._new = 0
        self.failure: NasDistillError | None = None
        self._reconcile()

    @property
    def remaining(self) -> int:
        """Trials that are not handed out yet."""
        if self.failure is not None:
            return 0
        return max(self._total - len(self._ended) - len(self._running), 0)

    @property
    def unfinished(self) -> int:
        """Trials of the plan that have not ended."""
        return max(self._total - len(self._ended), len(self._running))

    @property
    def new_trials(self) -> int:
        """Trials that ended in this session."""
        return self._new

    def next_assignment(self) -> Assignment | None:
        """Returns what a free worker should do, or None when nothing is left (see `failure`)."""
        if not self.remaining:
            return None
        try:
            assignment = self._queue.popleft() if self._queue else self._proposer.next()
        except NasDistillError as error:
            self._fail(error)
            return None
        done = len(self._run.trial(assignment.number).read_curve())
        self._running[assignment.number] = (assignment, done, done)
        self._say_status()
        return assignment

    def epoch_done(self, number: int, epoch: int) -> None:
        """Notes that a running trial has trained `epoch` epochs."""
        if number in self._running:
            assignment, _, before = self._running[number]
            self._running[number] = (assignment, epoch, before)
            self._say_status()

    def trial_ended(self, number: int, error: str | None) -> None:
        """Acknowledges a trial's end in the study.

        Args:
            number: The trial's.
            error: One line, when its worker died or raised; its record then may not exist, and is made here.
        """
        if number not in self._running:
            return
        assignment, _, before = self._running[number]
        folder = self._run.trial(number)
        try:
            record = folder.read_result()
            if record is None:
                record = end_trial(
                    assignment,
                    folder,
                    status=TrialStatus.FAILED,
                    curve=folder.read_curve(),
                    error=error or "the worker ended without a result",
                    device="unknown",
                )
            self._ledger.tell(record)
        except NasDistillError as problem:
            self._fail(problem)
            return
        del self._running[number]
        self._new += 1
        self._book(record, epochs_here=max(record.epochs - before, 0))
        self._say_end(record)

    def _reconcile(self) -> None:
        """Takes over from earlier sessions: acknowledges results on disk, queues what was in flight."""
        for record in self._ledger.ended():
            self._book(record, epochs_here=0)
        for assignment in self._ledger.unfinished():
            result = self._run.trial(assignment.number).read_result()
            if result is None:
                self._queue.append(assignment)
            else:
                self._ledger.tell(result)
                self._book(result, epochs_here=0)
        if self._queue:
            numbers = ", ".join(str(assignment.number) for assignment in self._queue)
            self._progress.event("resume", f"going on with trials in flight: {numbers}")

    def _book(self, record: TrialRecord, *, epochs_here: int) -> None:
        self._ended.append(EndedTrial.from_record(record, quality=self._quality.name, epochs_here=epochs_here))

    def _fail(self, error: NasDistillError) -> None:
        if self.failure is None:
            self.failure = error
            self._progress.event("error", f"no further trials are started: {error}")

    def _say_end(self, record: TrialRecord) -> None:
        facts = {"number": record.number, "status": record.status.value, "epochs": record.epochs}
        size = f"{record.spec.family}, {record.cost.num_params:,} parameters"
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
        running = {number: (done, a.recipe.epochs) for number, (a, done, _) in self._running.items()}
        self._progress.status(
            search_status(
                total=self._total,
                quality=self._quality.name,
                ended=self._ended,
                running=running,
                refused=self._proposer.refused,
                elapsed_s=time.monotonic() - self._started,
            )
        )
