"""Run tasks in several processes and record the finished ones."""

from __future__ import annotations

import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from benchmarks.common.program import commit
from benchmarks.common.tasks import Outcome, ResultT, TaskLog
from nas_distill.errors import NasDistillError
from nas_distill.records.base import Record

TaskT = TypeVar("TaskT", bound=Record)
SharedT = TypeVar("SharedT")


def run_all(
    tasks: Sequence[TaskT],
    shared: SharedT,
    *,
    processes: int,
    task_log: TaskLog[ResultT],
    work: Callable[[TaskT, SharedT], ResultT],
) -> Iterator[tuple[TaskT, Outcome[ResultT]]]:
    """Yield each task with its outcome: recorded tasks first, then the others in the order in which they finish.

    Args:
        tasks: Tasks, in the order in which they start.
        shared: Second argument of `work`, the same for all tasks.
        processes: Number of tasks that run in parallel.
        task_log: Log of finished tasks; new results are added to it.
        work: Function that runs one task in a worker process.
    """
    missing = []
    for task in tasks:
        outcome = task_log.get(task)
        if outcome is None:
            missing.append(task)
        else:
            yield task, outcome
    if not missing:
        return
    code = commit()
    pool = ProcessPoolExecutor(
        min(processes, len(missing)), mp_context=multiprocessing.get_context("spawn"), initializer=exit_with_parent
    )
    try:
        started = {pool.submit(work, task, shared): task for task in missing}
        for future in as_completed(started):
            outcome = _outcome(future, started[future], code)
            if not outcome.error:
                task_log.add(outcome)
            yield started[future], outcome
    finally:
        pool.shutdown(cancel_futures=True)


def _outcome(future: Future[ResultT], task: Record, code: str) -> Outcome[ResultT]:
    error = future.exception()
    if error is None:
        return Outcome(key=task.digest(), commit=code, result=future.result())
    if isinstance(error, BrokenProcessPool):
        return Outcome(key=task.digest(), commit=code, error="a worker process died, so all others were stopped")
    if not isinstance(error, NasDistillError):
        traceback.print_exception(error)
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
    kind = "" if isinstance(error, NasDistillError) else f"{type(error).__name__}: "
    return Outcome(key=task.digest(), commit=code, error=kind + reason)


def exit_with_parent() -> None:
    """Exit this process as soon as its parent has exited, even if the parent was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
