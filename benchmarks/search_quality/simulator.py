"""Replays a table of learning curves: asynchronous workers in simulated time, any searcher, any stopping rule.

A free worker asks the searcher for a candidate and is given the nearest row of the table that this run has not used
(`_mapping`); that row's cost and curve are what the searcher and the stopping rule are told. An epoch lasts as long as
it kept a processor busy when the table was made. A row that its recipe's own early stopping ends is complete, and worth
its best epoch; one whose training failed fails one epoch after the last that it has. The budget is in epochs of all
workers together and is never exceeded; what is in flight when it is spent is lost, as for somebody whose time is over.
"""

from __future__ import annotations

import heapq
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
    """What a searcher proposes.

    Attributes:
        number: The searcher's own, different for every proposal.
        spec: The candidate.
        recipe: How it would be distilled.
        cost: What it would cost.
    """

    number: int
    spec: StudentSpec
    recipe: Recipe
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedTrial:
    """A trial that ended.

    Attributes:
        number: The proposal's.
        row: That was given for it.
        status: How it ended.
        epochs: Trained, one that failed included.
        kept: Epoch whose weights are kept, from 1; of a stopped one the last.
        ended_s: Simulated time.
        spent: Epochs that all workers had begun by then.
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
    """Propose candidates and learns from what they come to."""

    def ask(self) -> Proposal | None:
        """Return a proposal within the limits of the table; None when it has no more."""

    def tell(self, ended_trial: EndedTrial) -> None:
        """Hear how a trial ended."""


class Stopper(Protocol):
    """Decide which trials end early."""

    def stops(self, number: int, epoch: int, row: Row) -> bool:
        """Return whether a trial that goes on ends here; called after every epoch but its last.

        Args:
            number: The trial's.
            epoch: Epochs trained.
            row: Its cost, and its curve up to `epoch`; the rest is the future.
        """

    def finished(self, ended_trial: EndedTrial) -> None:
        """Hear how a trial ended, however it did."""


class NoStopping:
    """Train everything to the end."""

    def stops(self, number: int, epoch: int, row: Row) -> bool:
        del number, epoch, row
        return False

    def finished(self, ended_trial: EndedTrial) -> None:
        del ended_trial


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationResult:
    """One simulated search.

    Attributes:
        trials: In the order in which they ended.
        spent: Epochs begun, those of trials cut off included.
        started: Trials begun.
        exhausted: Whether a worker found no free row, so that the searcher was held back by the table.
    """

    trials: tuple[EndedTrial, ...]
    spent: int
    started: int
    exhausted: bool

    def complete(self, budget: int) -> list[EndedTrial]:
        """Return the students that were fully trained within a budget, epochs."""
        return [trial for trial in self.trials if trial.status is TrialStatus.COMPLETE and trial.spent <= budget]


@dataclass(slots=True)
class _RunningTrial:
    number: int
    row: Row
    epoch: int = 0


@dataclass(slots=True)
class _Clock:
    """Epochs in the making, by the time at which they end; of equals the one that began first comes first."""

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
    """A search of one table.

    Args:
        rows: One per candidate (see `draw_rows`).
        row_map: Of these rows.
        searcher: Proposes.
        stopper: Stops.
        workers: Trials at once.
        budget: Epochs.
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
        """Play until the budget is spent, or nothing is left to train."""
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
        """Give a free worker something to do, if anything is left."""
        if self._spent >= self._budget or self._exhausted:
            return
        if not self._free.any():
            self._exhausted = True
            return
        proposal = self._searcher.ask()
        if proposal is None:
            return
        place = self._map.nearest(describe(proposal.spec, proposal.recipe, proposal.cost), self._free)
        assert place is not None
        self._free[place] = False
        self._started += 1
        self._begin_epoch(_RunningTrial(number=proposal.number, row=self._rows[place]))

    def _begin_epoch(self, running_trial: _RunningTrial) -> None:
        if self._spent >= self._budget:
            return
        self._spent += 1
        seconds = running_trial.row.curves["cpu_time_s"]
        # Nobody measured an epoch that failed.
        self._clock.begin(
            running_trial, float(seconds[min(running_trial.epoch, len(seconds) - 1)]) if len(seconds) else 0.0
        )

    def _status(self, running_trial: _RunningTrial) -> TrialStatus | None:
        """Return how a trial ends after the epoch that it just trained; None when it goes on."""
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
    """Return one row per candidate: one of its replicates, drawn at random, in the order of candidates."""
    replicates: dict[int, list[Row]] = {}
    for row in table.rows:
        replicates.setdefault(row.candidate, []).append(row)
    random = np.random.default_rng(seed)
    return tuple(rows[random.integers(len(rows))] for _, rows in sorted(replicates.items()))
