"""Run tasks in several processes and record the finished ones."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from benchmarks.common.parent import exit_with_parent
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
    make_executor: Callable[[int], Executor] | None = None,
) -> Iterator[tuple[TaskT, Outcome[ResultT]]]:
    """Yield each task with its outcome: recorded tasks first, then the others in the order in which they finish.

    Args:
        tasks: Tasks, in the order in which they start.
        shared: Second argument of `work`, the same for all tasks.
        processes: Number of tasks that run in parallel.
        task_log: Log of finished tasks; new results are added to it.
        work: Function that runs one task in a worker process.
        make_executor: Function that returns an executor with a given number of workers. Default: processes that exit
            with this one.
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
    pool = (make_executor or process_executor)(min(processes, len(missing)))
    try:
        started = {pool.submit(work, task, shared): task for task in missing}
        for future in as_completed(started):
            outcome = _outcome(future, started[future], code)
            if not outcome.error:
                task_log.add(outcome)
            yield started[future], outcome
    finally:
        pool.shutdown(cancel_futures=True)


def process_executor(workers: int) -> Executor:
    """Return an executor of spawned processes that exit with this one."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=exit_with_parent)


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
