"""Runs work items in worker processes on the connected Ray cluster: folds, confirmation and knowledge shards.

The trials of a search and of its assistants are scheduled by Ray Tune instead (`tune`), because trials report at rungs
and may be stopped there. Both ask the same `FailurePolicy` what to do after a worker died.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from nas_distill.errors import ClusterError, NasDistillError, one_line
from nas_distill.search.driver.failures import Decision, FailurePolicy

Item = TypeVar("Item")
Result = TypeVar("Result")
_Item_contra = TypeVar("_Item_contra", contravariant=True)
_Result_co = TypeVar("_Result_co", covariant=True)


class Worker(Protocol[_Item_contra, _Result_co]):
    """The work of one worker process. It is sent to the process before `open` is called, so it must be picklable."""

    def open(self) -> None:
        """Open what all items share. Called once per process, before its first item.

        Raises:
            NasDistillError: The user can cause it; the executor stops and raises it.
        """

    def run(self, item: _Item_contra) -> _Result_co:
        """Run one item.

        Raises:
            NasDistillError: The user can cause it; the executor stops and raises it.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkDescription:
    """How error messages name the work.

    Attributes:
        unit: The items, as a plural noun such as "trainings".
        field: Configuration key or command that asks for them.
        resume: How to continue after an error, such as "--resume RUN".
    """

    unit: str
    field: str
    resume: str


def _ignore(name: str, reason: str) -> None:
    """Do nothing: the caller does not report lost items one by one."""


class Executor(Generic[Item, Result]):
    """Keeps up to `max_workers` processes busy, and replaces those that die.

    Args:
        worker: The work of each process.
        cpus: CPUs per process.
        gpus: GPUs per process.
        max_workers: Number of processes, at least 1.
        policy: Decides how to continue after a worker died.
        description: How error messages name the work.
    """

    def __init__(
        self,
        worker: Worker[Item, Result],
        *,
        cpus: float,
        gpus: float,
        max_workers: int,
        policy: FailurePolicy,
        description: WorkDescription,
    ) -> None:
        process = ray.remote(_WorkerProcess).options(num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0)
        self._start: Callable[[], Any] = lambda: process.remote(worker)
        self._max_workers = max_workers
        self._policy = policy
        self._description = description

    def run(
        self,
        items: Mapping[str, Item],
        *,
        on_result: Callable[[str, Result], None],
        on_lost: Callable[[str, str], None] = _ignore,
    ) -> None:
        """Run all items. An item whose worker dies runs again in another one, as often as the policy allows.

        No process is left when it returns or raises.

        Args:
            items: Work items by name; the names appear in error messages.
            on_result: Called with the name and the result of each finished item, in the order in which they finish.
            on_lost: Called with the name of each item that the policy gives up, and the reason as one line.

        Raises:
            ClusterError: Items were given up; all others are finished, unless workers died whatever they ran.
            NasDistillError: A worker raised it.
        """
        waiting = deque(items)
        lost: dict[str, str] = {}
        processes = _Processes(self._start)
        try:
            while waiting or processes.busy:
                while waiting and len(processes.busy) < self._max_workers:
                    name = waiting.popleft()
                    processes.submit(name, items[name])
                name, result = processes.next_result(keep=bool(waiting))
                if isinstance(result, RayError):
                    decision = self._policy.failed(name)
                    if decision is Decision.RETRY:
                        waiting.appendleft(name)
                        continue
                    lost[name] = _reason(result, self._policy.failures(name))
                    on_lost(name, lost[name])
                    if decision is Decision.STOP:
                        raise self._error(f"{self._policy.given_up_in_a_row} {self._description.unit} in a row", lost)
                else:
                    self._policy.succeeded()
                    on_result(name, result)
        finally:
            processes.end_all()
        if lost:
            raise self._error(f"{len(lost)} of {len(items)} {self._description.unit}", lost)

    def _error(self, how_many: str, lost: Mapping[str, str]) -> ClusterError:
        name, reason = list(lost.items())[-1]
        return ClusterError(
            f"{how_many} lost their workers (the last, {name}: {reason}); run `nas_distill doctor`, then continue with "
            f"{self._description.resume}, with --max-parallel 1 where memory is short",
            code="cluster.workers_died",
            field=self._description.field,
        )


class _Processes:
    """The worker processes of one `Executor.run`.

    Args:
        start: Starts a process.

    Attributes:
        busy: Process and name of the item for each call that has not returned.
    """

    def __init__(self, start: Callable[[], Any]) -> None:
        self._start = start
        self._alive: set[Any] = set()
        self._idle: list[Any] = []
        self.busy: dict[Any, tuple[Any, str]] = {}

    def submit(self, name: str, item: object) -> None:
        """Give the item to an idle process, or to a new one."""
        process = self._idle.pop() if self._idle else self._start()
        self._alive.add(process)
        self.busy[process.run.remote(item)] = process, name

    def next_result(self, *, keep: bool) -> tuple[str, Any]:
        """Wait for the next call to return.

        Args:
            keep: Whether the process is needed again. One that is not is ended, which frees its place for a process
                that still waits for resources.

        Returns:
            The name of the item, and its result, or a `RayError` when the process died or had a bug.

        Raises:
            NasDistillError: The worker raised it.
        """
        (ended,), _ = ray.wait(list(self.busy), num_returns=1)
        process, name = self.busy.pop(ended)
        try:
            result = ray.get(ended)
        except RayError as error:
            self._end(process)
            return name, error
        if isinstance(result, NasDistillError):
            raise result
        if keep:
            self._idle.append(process)
        else:
            self._end(process)
        return name, result

    def end_all(self) -> None:
        """Kill every process that is left."""
        for process in tuple(self._alive):
            self._end(process)

    def _end(self, process: Any) -> None:
        ray.kill(process)
        self._alive.discard(process)


class _WorkerProcess:
    """The Ray actor around a worker: opens it once, then runs one item after another."""

    def __init__(self, worker: Worker[Any, Any]) -> None:
        self._worker = worker
        self._is_open = False

    def run(self, item: Any) -> Any:
        """Return the item's result, or the user error that was raised: Ray would wrap a raised one."""
        try:
            if not self._is_open:
                self._worker.open()
                self._is_open = True
            return self._worker.run(item)
        except NasDistillError as error:
            return error


def _reason(error: RayError, failures: int) -> str:
    """Return why a worker did not finish its item, as one line."""
    if isinstance(error, RayTaskError):
        return f"worker: {one_line(error.cause):.300}"
    times = "1 time" if failures == 1 else f"{failures} times"
    return f"its worker died {times}; does memory suffice for as many at once? ({one_line(error):.200})"
