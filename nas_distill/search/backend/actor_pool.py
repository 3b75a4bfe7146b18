"""Repeated trainings of picked students on the connected Ray cluster: of folds, and of what confirms them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError

import nas_distill.models  # noqa: F401 - registers the entrypoints that specs name, in every worker
from nas_distill.callbacks import Progress
from nas_distill.config import ResourcesConfig
from nas_distill.errors import ClusterError, NasDistillError, one_line
from nas_distill.records import TrialRecord
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.results import folder_of, read_own_result
from nas_distill.search.backend.cluster import parallel_trials
from nas_distill.search.spaces.loading import load_space
from nas_distill.trial.context import TrialContext, WorkerConfig, open_context
from nas_distill.trial.run import run_trial

_LOSSES_BEFORE_GIVING_UP = 3
"""Lost trainings while none has ended are the machine's or the cluster's fault, not the students'."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """What the trainings are for, as people and the event log are told.

    Attributes:
        task: Of progress and of events.
        field: Of the configuration or the command line that asks for them.
        way_on: The command that goes on with them.
        name: Names one of them, such as "trial 3, fold 1 of 5".
    """

    task: str
    field: str
    way_on: str
    name: Callable[[TrialTask], str]


def unended(run: RunDirectory, planned: Iterable[TrialTask]) -> tuple[TrialTask, ...]:
    """Returns the planned assignments that have not ended.

    Raises:
        RunError: A result is damaged or of another student.
    """
    return tuple(one for one in planned if read_own_result(one, folder_of(run, one)) is None)


def train_repeats(
    planned: Sequence[TrialTask],
    *,
    purpose: Purpose,
    worker_config: WorkerConfig,
    resources: ResourcesConfig,
    space_name: str,
    progress: Progress,
) -> tuple[TrialRecord, ...]:
    """Trains and scores what has not ended of `planned` on the connected cluster.

    What ended before stays; what was cut off goes on from its checkpoint. A training whose workers die (each time
    `resources.max_failures` allows) is told of and has not ended: it may have lacked nothing but memory, beside others.

    Args:
        planned: What to train; each has a folder of its own (`ending.folder_of`).
        purpose: What for.
        worker_config: Where workers find what trials share, the answers of the students' assistants included.
        resources: What one training takes; its GPUs are a number.
        space_name: As `load_space` takes it.
        progress: Told of everything.

    Returns:
        One record per assignment, in their order.

    Raises:
        ClusterError: Workers died, and all others have ended, or they die whatever they train; what was cut off goes
            on by the same command.
        NasDistillError: As a worker met it, such as a full disk.
    """
    run = RunDirectory(Path(worker_config.run))
    left = unended(run, planned)
    if left:
        trainings = _Trainings(run, left, total=len(planned), purpose=purpose, progress=progress)
        trainings.work_off(worker_config, resources, space_name)
    records = (read_own_result(one, folder_of(run, one)) for one in planned)
    return tuple(record for record in records if record is not None)


class RepeatWorker:
    """A worker process: opens the run once, then trains one student after another.

    Args:
        worker_config: Where it is.
        space_name: A space of one's own may register architectures with timm.
    """

    def __init__(self, worker_config: WorkerConfig, space_name: str) -> None:
        self._worker_config = worker_config
        self._space_name = space_name
        self._context: TrialContext | None = None

    def train(self, task: TrialTask) -> TrialRecord | NasDistillError:
        """Returns how the training ended, or what a user could cause: Ray would wrap what is raised."""
        try:
            if self._context is None:
                if self._space_name.partition(":")[0].endswith(".py"):
                    load_space(self._space_name)
                self._context = open_context(self._worker_config)
            torch.cuda.empty_cache()  # the last student's memory
            return run_trial(task, self._context, folder_of(RunDirectory(Path(self._worker_config.run)), task))
        except NasDistillError as error:
            return error


class _Trainings:
    """The trainings that are left, and what became of them."""

    def __init__(
        self, run: RunDirectory, left: Sequence[TrialTask], *, total: int, purpose: Purpose, progress: Progress
    ) -> None:
        self._run = run
        self._left = left
        self._total = total
        self._purpose = purpose
        self._progress = progress
        self._failures = 1
        self._ended = 0
        self._lost: list[str] = []

    def work_off(self, worker_config: WorkerConfig, resources: ResourcesConfig, space_name: str) -> None:
        """Hands out one training after another; returns when all have ended.

        Raises:
            NasDistillError: As `train_repeats` raises it.
        """
        remote = ray.remote(RepeatWorker).options(
            num_cpus=resources.cpus_per_trial,
            num_gpus=resources.gpus_per_trial,
            max_restarts=-1,
            max_task_retries=resources.max_failures,
        )
        self._failures = resources.max_failures + 1
        most = parallel_trials(resources) or len(self._left)
        waiting = deque(self._left)
        idle: list[Any] = []
        at_work: dict[Any, tuple[Any, TrialTask]] = {}
        self._say_status()
        try:
            while waiting or at_work:
                while waiting and len(at_work) < most:
                    worker = idle.pop() if idle else remote.remote(worker_config, space_name)
                    task = waiting.popleft()
                    at_work[worker.train.remote(task)] = worker, task
                (ended,), _ = ray.wait(list(at_work), num_returns=1)
                worker, task = at_work[ended]
                alive = self._take(ended, task)
                del at_work[ended]
                if alive and waiting:
                    idle.append(worker)
                else:
                    ray.kill(worker)  # its place goes to one that waits for it
        finally:
            for worker in [*idle, *(worker for worker, _ in at_work.values())]:
                ray.kill(worker)
        if self._lost:
            raise self._losses(f"{len(self._lost)} of {self._total} trainings")

    def _take(self, ended: Any, task: TrialTask) -> bool:
        """Books what a worker came back with; returns whether it can go on.

        Raises:
            NasDistillError: As the worker returned it.
            ClusterError: Workers die whatever they train.
        """
        try:
            outcome: TrialRecord | NasDistillError = ray.get(ended)
        except RayError as error:
            self._lose(task, _reason(error, self._failures))
            return False
        if isinstance(outcome, NasDistillError):
            raise outcome
        self._book(outcome)
        return True

    def _lose(self, task: TrialTask, reason: str) -> None:
        """Tells of a training without an end. Nothing is written: a result on disk would keep it from going on."""
        name = self._purpose.name(task)
        self._lost.append(f"{name}: {reason}")
        number = task.number
        self._run.log_event(self._purpose.task, number=number, training=name, status="lost", error=reason)
        self._progress.event(self._purpose.task, f"{name} has not ended: {reason}")
        if self._ended == 0 and len(self._lost) >= _LOSSES_BEFORE_GIVING_UP:
            raise self._losses(f"{len(self._lost)} trainings in a row")

    def _losses(self, how_many: str) -> ClusterError:
        return ClusterError(
            f"{self._purpose.field}: {how_many} lost their workers (the last, {self._lost[-1]}); see `nas_distill "
            f"doctor`, then go on with {self._purpose.way_on}, with --max-parallel 1 where memory is short"
        )

    def _book(self, record: TrialRecord) -> None:
        self._ended += 1
        name = self._purpose.name(record.task)
        self._run.log_event(
            self._purpose.task,
            number=record.number,
            training=name,
            status=record.status.value,
            top1=None if record.metrics is None else record.metrics.top1,
            error=record.error,
        )
        if record.metrics is None:
            text = f"{name} {record.status.value}: {record.error}"
        else:
            worth = f"top-1 {100.0 * record.metrics.top1:.2f} %, gap {record.metrics.gap_points:+.2f} points"
            text = f"{name}: {worth}, {record.wall_time_s:.1f} s"
        self._progress.event(self._purpose.task, text)
        self._say_status()

    def _say_status(self) -> None:
        self._progress.step(self._purpose.task, self._total - len(self._left) + self._ended, self._total)


def _reason(error: RayError, deaths: int) -> str:
    """Returns why a worker did not come back, as one line."""
    if isinstance(error, RayTaskError):
        return f"worker: {one_line(error.cause):.300}"
    times = "1 time" if deaths == 1 else f"{deaths} times"
    return f"its worker died {times}; does memory suffice for as many at once? ({one_line(error):.200})"
