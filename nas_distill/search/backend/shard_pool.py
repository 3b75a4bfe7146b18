"""`RayShardPool`: Ray workers that share the writing of the teacher's answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError

import nas_distill.models  # noqa: F401 - registers the entrypoints that teachers name, in every worker
from nas_distill.config import DataConfig
from nas_distill.data.splits import ImageSplit, open_split
from nas_distill.errors import ClusterError, NasDistillError, RunError
from nas_distill.knowledge.inference import TeacherInference
from nas_distill.knowledge.pool import ShardJob
from nas_distill.knowledge.writing import write_shard
from nas_distill.models.teacher import load_teacher
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.trial.context import teacher_reference
from nas_distill.user_code import import_modules

_ROUNDING = 1e-6
"""Ten times a tenth of a CPU is one CPU."""

_MOST_DEATHS = 3
"""Of one worker; what kills it more often would kill every worker."""


class ShardWorker:
    """A worker process: opens data and teacher once, then writes slab after slab.

    Args:
        run: The run directory, on a path that every node sees.
        data: How the images are read.
        job: What is to be written.
        threads: Threads that torch may use.
        cuda: Ask the teacher on the first visible GPU.
        assistant: Number of the trial whose student is asked; None for the teacher.
        user_modules: Modules and files to import first: they may register the network's architecture.
    """

    def __init__(
        self,
        run: str,
        data: DataConfig,
        job: ShardJob,
        *,
        threads: int,
        cuda: bool,
        assistant: int | None = None,
        user_modules: tuple[str, ...] = (),
    ) -> None:
        torch.set_num_threads(threads)
        self._run = RunDirectory(Path(run))
        self._data = data
        self._job = job
        self._device = torch.device("cuda" if cuda else "cpu")
        self._assistant = assistant
        self._user_modules = user_modules
        self._opened: tuple[TeacherInference, ImageSplit] | None = None

    def open(self) -> NasDistillError | None:
        """Opens data and teacher; returns, as `write` does, what a user could cause: Ray would wrap what is raised."""
        try:
            self._open()
        except NasDistillError as error:
            return error
        return None

    def write(self, view: int) -> NasDistillError | None:
        """Writes the slab of one view."""
        try:
            inference, train = self._open()
            write_shard(self._job, view, inference, train)
        except NasDistillError as error:
            return error
        return None

    def _open(self) -> tuple[TeacherInference, ImageSplit]:
        if self._opened is None:
            import_modules(self._user_modules)
            train = open_split(self._data, self._run.path, "train")
            reference = teacher_reference(self._run, self._assistant)
            teacher = load_teacher(
                reference,
                class_names=train.manifest.class_names,
                channels=train.manifest.channels,
                image_size=self._job.key.teacher_image_size,
            )
            if teacher.weights_sha256() != self._job.key.teacher_sha256:
                raise RunError(
                    f"{reference}: a worker found another teacher there than the driver did; put the run directory on "
                    "a path that all nodes share"
                )
            self._opened = TeacherInference(teacher, self._device, embeddings=self._job.key.embeddings), train
        return self._opened


class RayShardPool:
    """Shares slabs among workers on the connected cluster; a `ShardPool`.

    Args:
        run: The run directory, on a path that every node sees.
        data: How the images are read.
        cpus: CPU slots (and torch threads) per worker; where slots are left over, workers get more of them.
        gpus: GPUs per worker; above 0 each gets a whole one at least, which a teacher keeps busy.
        assistant: Number of the trial whose student is asked; None for the teacher.
        user_modules: Modules and files that every worker imports first.
    """

    def __init__(
        self,
        run: Path,
        data: DataConfig,
        *,
        cpus: float,
        gpus: float,
        assistant: int | None = None,
        user_modules: tuple[str, ...] = (),
    ) -> None:
        self._run = run
        self._data = data
        self._assistant = assistant
        self._user_modules = user_modules
        self._cpus = cpus
        self._gpus = max(1.0, gpus) if gpus > 0 else 0.0

    def workers(self, views: int) -> int:
        """Returns how many workers would share that many views (`ShardPool.workers`)."""
        if self._gpus == 0 and torch.cuda.is_available():
            return 0  # the driver's GPU is faster than any number of CPUs
        return min(views, sum(self._slots()))

    def write(self, job: ShardJob, views: Sequence[int]) -> Iterator[int]:
        """Writes the slabs of `views` (`ShardPool.write`).

        A worker that dies is started again, and writes its slab anew, up to three times.

        Raises:
            NasDistillError: As a worker raised it.
            ClusterError: No worker is left.
        """
        workers = self._start(job, self.workers(len(views)))
        try:
            yield from _share(workers, views)
        finally:
            for worker in workers:
                ray.kill(worker)

    def _slots(self) -> list[int]:
        """Returns how many workers fit on each node."""
        wanted = {kind: amount for kind, amount in (("CPU", self._cpus), ("GPU", self._gpus)) if amount > 0}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return [min(int(node.get(kind, 0.0) / wanted[kind] + _ROUNDING) for kind in wanted) for node in nodes]

    def _start(self, job: ShardJob, count: int) -> list[Any]:
        slots = self._slots()
        # On several nodes wider workers might fit nowhere.
        wider = max(1, slots[0] // count) if len(slots) == 1 and self._gpus == 0 else 1
        cpus = self._cpus * wider
        worker = ray.remote(ShardWorker).options(
            num_cpus=cpus, num_gpus=self._gpus, max_restarts=_MOST_DEATHS, max_task_retries=_MOST_DEATHS
        )
        threads = max(1, int(cpus + _ROUNDING))
        return [
            worker.remote(
                str(self._run), self._data, job, threads=threads, cuda=self._gpus > 0,
                assistant=self._assistant, user_modules=self._user_modules,
            )
            for _ in range(count)
        ]  # fmt: skip


def _share(workers: Sequence[Any], views: Sequence[int]) -> Iterator[int]:
    """Gives each worker a view when it is free; one that is not up yet, or no more, holds none back."""
    waiting = deque(views)
    left = len(views)
    idle: list[Any] = []
    at_work: dict[Any, tuple[Any, int | None]] = {worker.open.remote(): (worker, None) for worker in workers}
    while left:
        if not at_work:
            raise ClusterError(
                f"every worker that asks the teacher died {_MOST_DEATHS + 1} times (does memory suffice for as many at "
                "once? resources.cpus_per_trial says how many fit); finished views are kept for --resume"
            )
        (ended,), _ = ray.wait(list(at_work), num_returns=1)
        worker, view = at_work.pop(ended)
        finished = _finished(ended)
        if finished:
            idle.append(worker)
        elif view is not None:
            waiting.append(view)
        while idle and waiting:
            following, free = waiting.popleft(), idle.pop()
            at_work[free.write.remote(following)] = (free, following)
        if finished and view is not None:
            left -= 1
            yield view


def _finished(ended: Any) -> bool:
    """Returns whether a call of a worker came to its end; False when the worker is lost.

    Raises:
        NasDistillError: As the worker returned it.
    """
    try:
        error = ray.get(ended)
    except RayTaskError:
        raise  # a bug: with its traceback
    except RayError:
        return False
    if error is not None:
        raise error
    return True
