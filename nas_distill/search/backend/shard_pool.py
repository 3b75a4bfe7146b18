"""`RayShardPool`: worker processes that write the shards of stored teacher outputs in parallel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

import nas_distill.models  # noqa: F401 - registers the architectures that teachers name, in every worker
from nas_distill.config import DataConfig, ResourcesConfig
from nas_distill.data.splits import ImageSplit, open_split
from nas_distill.errors import RunError
from nas_distill.knowledge.inference import TeacherInference
from nas_distill.knowledge.pool import ShardJob
from nas_distill.knowledge.writing import write_shard
from nas_distill.models.teacher import load_teacher
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.cluster import ROUNDING, has_gpus, worker_slots
from nas_distill.search.backend.executor import Executor, WorkDescription
from nas_distill.search.driver.failures import FailurePolicy
from nas_distill.trial.context import teacher_reference
from nas_distill.user_code import USER_MODULE_FIELDS, import_modules


class ShardWorker:
    """A worker process that writes one shard after another.

    Args:
        run: The run directory, on a path that every node sees.
        data: How the images are read.
        job: What the shards hold.
        threads: Threads that torch may use.
        cuda: Whether the teacher runs on the first visible GPU.
        assistant: Number of the trial whose student answers; None for the teacher.
        user_modules: Modules and files to import first: they may register the network's architecture.
    """

    def __init__(
        self,
        run: RunDirectory,
        data: DataConfig,
        job: ShardJob,
        *,
        threads: int,
        cuda: bool,
        assistant: int | None,
        user_modules: tuple[str, ...],
    ) -> None:
        self._run = run
        self._data = data
        self._job = job
        self._threads = threads
        self._cuda = cuda
        self._assistant = assistant
        self._user_modules = user_modules
        self._opened: tuple[TeacherInference, ImageSplit] | None = None

    def open(self) -> None:
        """Open data and teacher.

        Raises:
            NasDistillError: They cannot be read, or the teacher is not the one that the driver read.
        """
        torch.set_num_threads(self._threads)
        import_modules(self._user_modules, field=USER_MODULE_FIELDS)
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
                "a worker read another teacher there than the driver; put the run directory on a path that all nodes "
                "share",
                code="cluster.path_not_shared",
                field=reference,
            )
        device = torch.device("cuda" if self._cuda else "cpu")
        self._opened = TeacherInference(teacher, device, embeddings=self._job.key.embeddings), train

    def run(self, item: int) -> None:
        """Write the shard of a view.

        Args:
            item: Number of the view.

        Raises:
            TeacherError: The teacher's outputs cannot be stored.
            RunError: The disk is full, or the file system refuses.
        """
        assert self._opened is not None
        write_shard(self._job, item, *self._opened)


class RayShardPool:
    """Worker processes on the connected Ray cluster (`knowledge.pool.ShardPool`).

    Every worker gets what a trial would get; a GPU is not shared, because the teacher may fill it. Workers that are
    fewer than the slots of a single node get the spare CPUs.

    Args:
        run: The run directory, on a path that every node sees.
        data: How the images are read.
        resources: What a trial takes.
        user_modules: Modules and files that every worker imports first.
        assistant: Number of the trial whose student answers; None for the teacher.
    """

    def __init__(
        self,
        run: RunDirectory,
        data: DataConfig,
        resources: ResourcesConfig,
        *,
        user_modules: tuple[str, ...],
        assistant: int | None = None,
    ) -> None:
        self._run = run
        self._data = data
        self._resources = resources
        self._user_modules = user_modules
        self._assistant = assistant
        gpus = resources.gpus_per_trial
        if gpus == "auto":
            gpus = 1.0 if has_gpus() else 0.0
        self._gpus = max(1.0, gpus) if gpus > 0 else 0.0

    def workers(self, views: int) -> int:
        """Return how many processes would share that many views (`ShardPool.workers`)."""
        if self._gpus == 0 and torch.cuda.is_available():
            return 0  # the driver's GPU is faster than any number of CPUs
        return min(views, sum(self._slots()))

    def write(self, job: ShardJob, views: Sequence[int], *, on_written: Callable[[], None]) -> None:
        """Write the shards of `views` (`ShardPool.write`).

        Raises:
            NasDistillError: A worker raised it.
            ClusterError: Workers died; shards that are written are kept.
        """
        count = max(1, self.workers(len(views)))
        cpus = self._resources.cpus_per_trial * self._width(count)
        worker = ShardWorker(
            self._run,
            self._data,
            job,
            threads=max(1, int(cpus + ROUNDING)),
            cuda=self._gpus > 0,
            assistant=self._assistant,
            user_modules=self._user_modules,
        )
        executor = Executor[int, None](
            worker,
            cpus=cpus,
            gpus=self._gpus,
            max_workers=count,
            policy=FailurePolicy(self._resources.max_failures, stop_after_success=False),
            description=WorkDescription(
                unit="views", field="resources.cpus_per_trial", resume=f"--resume {self._run.path}"
            ),
        )
        executor.run({f"view {view}": view for view in views}, on_result=lambda _name, _result: on_written())

    def _slots(self) -> list[int]:
        return worker_slots(cpus=self._resources.cpus_per_trial, gpus=self._gpus)

    def _width(self, count: int) -> int:
        """Return how many CPU slots each of `count` workers gets; on several nodes wider workers might fit nowhere."""
        slots = self._slots()
        return max(1, slots[0] // count) if len(slots) == 1 and self._gpus == 0 else 1
