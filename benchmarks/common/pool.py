"""Tasks by several processes at once, with what is finished kept."""

from __future__ import annotations

import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from benchmarks.common.ledger import Ledger, Outcome, ResultT
from benchmarks.common.program import commit
from nas_distill.errors import NasDistillError
from nas_distill.records.base import Record

TaskT = TypeVar("TaskT", bound=Record)
PlaceT = TypeVar("PlaceT")


def run_all(
    tasks: Sequence[TaskT],
    place: PlaceT,
    *,
    processes: int,
    ledger: Ledger[ResultT],
    work: Callable[[TaskT, PlaceT], ResultT],
) -> Iterator[tuple[TaskT, Outcome[ResultT]]]:
    """Yields each task with how it ended, in the order in which they end; those of the ledger come first.

    Args:
        tasks: In the order in which they are begun.
        place: What they share.
        processes: Tasks at once.
        ledger: Of what is finished already; what ends well is added.
        work: Does one in a process.
    """
    missing = []
    for task in tasks:
        outcome = ledger.get(task)
        if outcome is None:
            missing.append(task)
        else:
            yield task, outcome
    if not missing:
        return
    code = commit()
    pool = ProcessPoolExecutor(
        min(processes, len(missing)), mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_parent
    )
    try:
        begun = {pool.submit(work, task, place): task for task in missing}
        for future in as_completed(begun):
            outcome = _outcome(future, begun[future], code)
            if not outcome.error:
                ledger.add(outcome)
            yield begun[future], outcome
    finally:
        pool.shutdown(cancel_futures=True)


def _outcome(future: Future[ResultT], task: Record, code: str) -> Outcome[ResultT]:
    error = future.exception()
    if error is None:
        return Outcome(key=task.digest(), commit=code, result=future.result())
    if isinstance(error, BrokenProcessPool):
        return Outcome(key=task.digest(), commit=code, error="a process died, and the others were stopped")
    if not isinstance(error, NasDistillError):
        traceback.print_exception(error)
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
    kind = "" if isinstance(error, NasDistillError) else f"{type(error).__name__}: "
    return Outcome(key=task.digest(), commit=code, error=kind + reason)


def _end_with_parent() -> None:
    """Ends this process when the one that waits for its results is gone, however it went."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
