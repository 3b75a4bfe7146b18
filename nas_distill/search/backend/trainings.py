"""Repeated trainings of picked students on the connected Ray cluster: on folds, and to confirm them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from nas_distill.callbacks import Progress
from nas_distill.records import TrialRecord
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.results import folder_of, read_own_result
from nas_distill.search.backend.cluster import joins_cluster, own_slots
from nas_distill.search.backend.executor import Executor, WorkDescription
from nas_distill.search.backend.workers import WorkerSetup
from nas_distill.search.driver.failures import FailurePolicy
from nas_distill.trial.context import TrialContext
from nas_distill.trial.run import run_trial


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingKind:
    """What the trainings are for, in progress, events and errors.

    Attributes:
        task: Name of the work in progress and events, such as "folds".
        field: Configuration key or command that asks for the trainings.
        resume: How to continue after an error, such as "--resume RUN".
        name: Returns the name of one training, such as "trial 3, fold 1 of 5"; names are unique.
    """

    task: str
    field: str
    resume: str
    name: Callable[[TrialTask], str]


def unfinished_tasks(run: RunDirectory, planned: Iterable[TrialTask]) -> tuple[TrialTask, ...]:
    """Return the planned tasks that have no result yet.

    Raises:
        RunError: A result is damaged, or belongs to another student.
    """
    return tuple(task for task in planned if read_own_result(task, folder_of(run, task)) is None)


def train_tasks(
    planned: Sequence[TrialTask], *, kind: TrainingKind, setup: WorkerSetup, progress: Progress
) -> tuple[TrialRecord, ...]:
    """Train and score the planned tasks that have no result yet, on the connected cluster.

    Results that exist are kept, and interrupted trainings continue from their checkpoints. A training whose worker dies
    more than `resources.max_failures` times is reported, but not recorded as failed: it may only have lacked memory
    next to the others.

    Args:
        planned: The tasks; each has a folder of its own (`results.folder_of`).
        kind: What the trainings are for.
        setup: What workers get.
        progress: Watcher of the work.

    Returns:
        One record per task, in the order of `planned`.

    Raises:
        ClusterError: Workers died; the same command continues with the trainings that are left.
        NasDistillError: A worker raised it, for example because the disk is full.
    """
    left = unfinished_tasks(setup.run, planned)
    if left:
        _run_tasks(left, len(planned), kind=kind, setup=setup, progress=progress)
    records = (read_own_result(task, folder_of(setup.run, task)) for task in planned)
    return tuple(record for record in records if record is not None)


class TrainingWorker:
    """A worker process that trains one student after another.

    Args:
        setup: What the worker gets.
    """

    def __init__(self, setup: WorkerSetup) -> None:
        self._setup = setup
        self._context: TrialContext | None = None

    def open(self) -> None:
        """See `Worker`."""
        self._context = self._setup.open_context()

    def run(self, item: TrialTask) -> TrialRecord:
        """Train the student of a task and return its record."""
        assert self._context is not None
        torch.cuda.empty_cache()  # frees the memory of the last student
        return run_trial(item, self._context, folder_of(self._setup.run, item))


def _run_tasks(
    left: Sequence[TrialTask], total: int, *, kind: TrainingKind, setup: WorkerSetup, progress: Progress
) -> None:
    resources = setup.resources
    assert resources.gpus_per_trial != "auto"
    executor = Executor[TrialTask, TrialRecord](
        TrainingWorker(setup),
        cpus=resources.cpus_per_trial,
        gpus=resources.gpus_per_trial,
        # A joined cluster may grow: processes that do not fit yet wait, and an autoscaler sees them.
        max_workers=resources.max_parallel_trials or len(left) if joins_cluster(resources) else own_slots(resources),
        policy=FailurePolicy(resources.max_failures, stop_after_success=False),
        description=WorkDescription(unit="trainings", field=kind.field, resume=kind.resume),
    )
    tasks = {kind.name(task): task for task in left}
    log = _TrainingLog(setup.run, kind, progress, done=total - len(left), total=total)
    log.report_progress()
    executor.run(tasks, on_result=log.finished, on_lost=lambda name, reason: log.lost(name, tasks[name].number, reason))


class _TrainingLog:
    """Reports finished and lost trainings to the run's event log and to the watcher."""

    def __init__(self, run: RunDirectory, kind: TrainingKind, progress: Progress, *, done: int, total: int) -> None:
        self._run = run
        self._kind = kind
        self._progress = progress
        self._done = done
        self._total = total

    def report_progress(self) -> None:
        self._progress.step(self._kind.task, self._done, self._total)

    def finished(self, name: str, record: TrialRecord) -> None:
        self._done += 1
        self._run.log_event(
            self._kind.task,
            number=record.number,
            training=name,
            status=record.status.value,
            top1=None if record.metrics is None else record.metrics.top1,
            error=record.error,
        )
        if record.metrics is None:
            text = f"{name} {record.status.value}: {record.error}"
        else:
            quality = f"top-1 {100.0 * record.metrics.top1:.2f} %, gap {record.metrics.gap_points:+.2f} points"
            text = f"{name}: {quality}, {record.wall_time_s:.1f} s"
        self._progress.event(self._kind.task, text)
        self.report_progress()

    def lost(self, name: str, number: int, reason: str) -> None:
        # No result is written: a result on disk would keep the next call from continuing with the training.
        self._run.log_event(self._kind.task, number=number, training=name, status="lost", error=reason)
        self._progress.event(self._kind.task, f"{name} did not finish: {reason}")
