"""Simulate a search on a table of learning curves: asynchronous workers, any searcher, any stopping rule.

An idle worker asks the searcher for a candidate and trains the nearest row of the table that this run has not used (see
`mapping`). The searcher and the stopping rule see the cost and the curve of that row. An epoch takes as long as the CPU
time that was measured for the table. A row whose recipe stops early is complete, with its best epoch. A row whose
training failed fails one epoch after its last value. The budget is a number of epochs, summed over all workers, and is
never exceeded; trials that are still running when it is spent are lost.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

import numpy as np

from benchmarks.search_quality.curve_table import CurveTable, Row, ended
from benchmarks.search_quality.mapping import Mask, RowMap, describe
from nas_distill.records import Cost, Recipe, StudentSpec, TrialStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Proposal of a searcher.

    Attributes:
        number: Number of the proposal, unique per searcher.
        spec: Architecture of the candidate.
        recipe: Recipe to distil it with.
        cost: Cost of the candidate.
    """

    number: int
    spec: StudentSpec
    recipe: Recipe
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedTrial:
    """A finished trial.

    Attributes:
        number: Number of the proposal.
        row: Row that was trained for it.
        status: How the trial ended.
        epochs: Number of epochs trained, including a failed one.
        kept: Epoch whose weights are kept, from 1; the last one for a stopped trial.
        ended_s: Simulated time of the end, in seconds.
        spent: Epochs that all workers together had started by then.
    """

    number: int
    row: Row
    status: TrialStatus
    epochs: int
    kept: int
    ended_s: float
    spent: int

    @property
    def gap_points(self) -> float:
        """Gap of the kept weights."""
        return float(self.row.curves["gap_points"][self.kept - 1])


class Searcher(Protocol):
    """Propose candidates and learn from their results."""

    def ask(self) -> Proposal | None:
        """Return a proposal within the limits of the table; None if there is none left."""

    def tell(self, ended_trial: EndedTrial) -> None:
        """Receive a finished trial."""


class Stopper(Protocol):
    """Decide which trials end early."""

    def stops(self, number: int, epoch: int, row: Row) -> bool:
        """Return whether a running trial stops now; called after every epoch except for its last.

        Args:
            number: Number of the trial.
            epoch: Number of epochs trained.
            row: Cost and curve of the trial; the curve must not be read beyond `epoch`.
        """

    def finished(self, ended_trial: EndedTrial) -> None:
        """Receive a finished trial, whether it was stopped or not."""


class Limited:
    """A searcher that proposes a number of candidates.

    Args:
        searcher: Searcher that proposes.
        trials: Number of candidates; None for no limit.
    """

    def __init__(self, searcher: Searcher, trials: int | None) -> None:
        self._searcher = searcher
        self._left: float = math.inf if trials is None else trials

    def ask(self) -> Proposal | None:
        if self._left == 0:
            return None
        self._left -= 1
        return self._searcher.ask()

    def tell(self, ended_trial: EndedTrial) -> None:
        self._searcher.tell(ended_trial)


class NoStopping:
    """Train every trial to its end."""

    def stops(self, number: int, epoch: int, row: Row) -> bool:
        del number, epoch, row
        return False

    def finished(self, ended_trial: EndedTrial) -> None:
        del ended_trial


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationResult:
    """Result of a simulated search.

    Attributes:
        trials: Finished trials in the order of their ends.
        spent: Number of epochs started, including those of lost trials.
        started: Number of trials started.
        exhausted: Whether a worker found no unused row, so that the table limited the search.
    """

    trials: tuple[EndedTrial, ...]
    spent: int
    started: int
    exhausted: bool

    def complete(self, budget: int) -> list[EndedTrial]:
        """Return the completed trials that ended within a budget, in epochs."""
        return [trial for trial in self.trials if trial.status is TrialStatus.COMPLETE and trial.spent <= budget]


@dataclass(slots=True)
class _RunningTrial:
    number: int
    row: Row
    epoch: int = 0


@dataclass(slots=True)
class _Clock:
    """Running epochs, ordered by their end; ties go to the epoch that started first."""

    now_s: float = 0.0
    _queue: list[tuple[float, int, _RunningTrial]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=count)

    def begin(self, running_trial: _RunningTrial, seconds: float) -> None:
        heapq.heappush(self._queue, (self.now_s + seconds, next(self._order), running_trial))

    def next(self) -> _RunningTrial | None:
        if not self._queue:
            return None
        self.now_s, _, running_trial = heapq.heappop(self._queue)
        return running_trial


class Simulation:
    """A search on one table.

    Args:
        rows: One row per candidate (see `draw_rows`).
        row_map: Map of these rows.
        searcher: Searcher that proposes candidates.
        stopper: Rule that stops trials early.
        workers: Number of parallel trials.
        budget: Number of epochs.
    """

    def __init__(
        self,
        rows: tuple[Row, ...],
        row_map: RowMap,
        *,
        searcher: Searcher,
        stopper: Stopper,
        workers: int,
        budget: int,
    ) -> None:
        self._rows = rows
        self._map = row_map
        self._searcher = searcher
        self._stopper = stopper
        self._workers = workers
        self._budget = budget
        self._free: Mask = np.ones(len(rows), dtype=np.bool_)
        self._clock = _Clock()
        self._spent = 0
        self._started = 0
        self._exhausted = False
        self._ended: list[EndedTrial] = []

    def run(self) -> SimulationResult:
        """Simulate until the budget is spent or no candidate is left."""
        for _ in range(self._workers):
            self._start()
        while (running_trial := self._clock.next()) is not None:
            running_trial.epoch += 1
            status = self._status(running_trial)
            if status is None:
                self._begin_epoch(running_trial)
            else:
                self._end(running_trial, status)
                self._start()
        return SimulationResult(
            trials=tuple(self._ended), spent=self._spent, started=self._started, exhausted=self._exhausted
        )

    def _start(self) -> None:
        """Start the next trial on an idle worker, if there is one."""
        if self._spent >= self._budget or self._exhausted:
            return
        if not self._free.any():
            self._exhausted = True
            return
        proposal = self._searcher.ask()
        if proposal is None:
            return
        index = self._map.nearest(describe(proposal.spec, proposal.recipe, proposal.cost), self._free)
        assert index is not None
        self._free[index] = False
        self._started += 1
        self._begin_epoch(_RunningTrial(number=proposal.number, row=self._rows[index]))

    def _begin_epoch(self, running_trial: _RunningTrial) -> None:
        if self._spent >= self._budget:
            return
        self._spent += 1
        seconds = running_trial.row.curves["cpu_time_s"]
        # A failed epoch has no measured time.
        self._clock.begin(
            running_trial, float(seconds[min(running_trial.epoch, len(seconds) - 1)]) if len(seconds) else 0.0
        )

    def _status(self, running_trial: _RunningTrial) -> TrialStatus | None:
        """Return how a trial ends after the epoch that it has just trained; None if it continues."""
        row, epoch = running_trial.row, running_trial.epoch
        if epoch > len(row.curves["gap_points"]):
            return TrialStatus.FAILED
        if epoch == ended(row).epochs and not row.error:
            return TrialStatus.COMPLETE
        return TrialStatus.STOPPED if self._stopper.stops(running_trial.number, epoch, row) else None

    def _end(self, running_trial: _RunningTrial, status: TrialStatus) -> None:
        kept = ended(running_trial.row).kept if status is TrialStatus.COMPLETE else running_trial.epoch
        ended_trial = EndedTrial(
            number=running_trial.number,
            row=running_trial.row,
            status=status,
            epochs=running_trial.epoch,
            kept=kept,
            ended_s=self._clock.now_s,
            spent=self._spent,
        )
        self._ended.append(ended_trial)
        self._stopper.finished(ended_trial)
        self._searcher.tell(ended_trial)


def draw_rows(table: CurveTable, seed: int) -> tuple[Row, ...]:
    """Return one random replicate of each candidate, in the order of candidates."""
    replicates: dict[int, list[Row]] = {}
    for row in table.rows:
        replicates.setdefault(row.candidate, []).append(row)
    random = np.random.default_rng(seed)
    return tuple(rows[random.integers(len(rows))] for _, rows in sorted(replicates.items()))
