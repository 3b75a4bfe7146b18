"""Building the teacher's stored answers: one forward pass per image and view, ever."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from nas_distill.callbacks import Progress
from nas_distill.data.splits import ImageSplit
from nas_distill.data.views.batches import view_batches
from nas_distill.data.views.plan import ViewPlan
from nas_distill.errors import RunError
from nas_distill.knowledge.arrays import remove_temporary_files
from nas_distill.knowledge.features import write_features
from nas_distill.knowledge.inference import TeacherInference
from nas_distill.knowledge.inspection import inspect
from nas_distill.knowledge.layout import (
    KnowledgeFolder,
    KnowledgeKey,
    KnowledgeManifest,
    OutputStorage,
    ShardReceipt,
    ShardShape,
    merge_errors,
)
from nas_distill.knowledge.pool import ShardJob, ShardPool
from nas_distill.knowledge.store import Knowledge
from nas_distill.knowledge.writing import disk_errors, write_reference, write_shard
from nas_distill.models.teacher import Teacher
from nas_distill.run_directory.files import read_record, write_record

_WORTH_WORKERS_S = 20.0
"""Workers take about ten seconds to import and to open data and teacher."""

_TASK = "teacher's answers"


def build_knowledge(
    teacher: Teacher,
    *,
    train: ImageSplit,
    validation: ImageSplit,
    plan: ViewPlan,
    online: bool,
    root: Path,
    device: torch.device,
    progress: Progress,
    storage: OutputStorage | None = None,
    pool: ShardPool | None = None,
) -> Knowledge:
    """Stores the teacher's answers, or opens them when they are stored already.

    They lie in `root/ID` (see `layout`); ID is the digest of teacher, data, views and storage. What an earlier build
    finished is checked against its checksums and kept, the rest is written, and the manifest comes last.

    Args:
        teacher: Moved to `device`.
        train: Training split, N images.
        validation: Validation split.
        plan: K views.
        online: Store no views, only the answers to plain images.
        root: The run's knowledge folder.
        device: Where the teacher answers in this process.
        progress: Told of sizes, of what is damaged, and after every batch.
        storage: How much of an answer is stored.
        pool: Shares the shards among processes when they would keep this one busy for long.

    Raises:
        TeacherError: The teacher answers NaN, infinities, numbers beyond float16 or differently when asked twice, or
            gives no embedding.
        RunError: The disk lacks room, or the file system refuses.
    """
    key = _make_key(teacher, train, plan, OutputStorage() if storage is None else storage, online=online)
    folder = KnowledgeFolder(root / key.digest())
    found = inspect(folder.path, key)
    for fault in found.faults:
        progress.event("warning", f"{fault}; it is made again")
    if found.manifest is not None and not found.faults:
        progress.event("knowledge", f"the teacher's answers are stored already ({folder.path.name})")
        if not found.features:
            _store_features(folder, key, teacher, validation, device)
        return Knowledge(folder.path)
    started = time.perf_counter()
    missing = [view for view in range(key.num_shards) if view not in found.shards]
    with disk_errors(folder.path):
        _clear(folder, key, missing)
    inference = TeacherInference(teacher, device, embeddings=key.embeddings)
    tried = _try_out(inference, train, plan)
    shape = ShardShape(
        num_images=train.num_images,
        num_classes=teacher.num_classes,
        top_k=key.top_k,
        embedding_size=tried.embedding_size,
    )
    job = ShardJob(folder=str(folder.path), key=key, shape=shape)
    _check_room(job, missing, progress)
    if not found.reference:
        write_reference(job, inference, train, validation)
    if not found.features:
        _store_features(folder, key, teacher, validation, device)
    _write_shards(
        job,
        missing,
        lambda view, tell: write_shard(job, view, inference, train, tell),
        pool if tried.seconds(job, missing) > _WORTH_WORKERS_S else None,
        progress,
    )
    with disk_errors(folder.path):
        remove_temporary_files(folder.views)  # of workers that died
    written = [read_record(folder.receipt(view), ShardReceipt).errors for view in missing]
    manifest = KnowledgeManifest(
        key=key,
        shape=shape,
        errors=merge_errors([*found.shards.values(), *written]),
        build_time_s=round(time.perf_counter() - started, 3),
    )
    write_record(folder.manifest, manifest)
    progress.event("knowledge", _summary(manifest))
    return Knowledge(folder.path)


def _make_key(
    teacher: Teacher, train: ImageSplit, plan: ViewPlan, storage: OutputStorage, *, online: bool
) -> KnowledgeKey:
    return KnowledgeKey(
        teacher_sha256=teacher.weights_sha256(),
        teacher_architecture=teacher.architecture,
        teacher_arguments=teacher.arguments,
        teacher_image_size=teacher.image_size,
        teacher_mean=teacher.preprocess.mean,
        teacher_std=teacher.preprocess.std,
        data_id=train.manifest.data_id,
        plan=plan,
        num_shards=0 if online else plan.count,
        top_k=0 if online else storage.stored_top_k(teacher.num_classes),
        embeddings=storage.embeddings and not online,
    )


def _store_features(
    folder: KnowledgeFolder, key: KnowledgeKey, teacher: Teacher, validation: ImageSplit, device: torch.device
) -> None:
    with disk_errors(folder.path):
        write_features(folder.path, key.digest(), teacher, validation, device)


def _clear(folder: KnowledgeFolder, key: KnowledgeKey, missing: Sequence[int]) -> None:
    """Removes the manifest, so that nobody uses the folder while it is mended, and what is not whole."""
    folder.views.mkdir(parents=True, exist_ok=True)
    folder.manifest.unlink(missing_ok=True)
    for view in missing:
        folder.receipt(view).unlink(missing_ok=True)
        for name in key.shard_arrays:
            folder.array(view, name).unlink(missing_ok=True)
    remove_temporary_files(folder.path)
    remove_temporary_files(folder.views)


@dataclass(frozen=True, slots=True, kw_only=True)
class _TryOut:
    """What one batch showed.

    Attributes:
        embedding_size: Width of the embeddings to be stored, 0 for none.
        image_s: Seconds per image, in this process.
    """

    embedding_size: int
    image_s: float

    def seconds(self, job: ShardJob, views: Sequence[int]) -> float:
        """Returns about how long this process alone would take for `views`."""
        return self.image_s * job.shape.num_images * len(views)


def _try_out(inference: TeacherInference, train: ImageSplit, plan: ViewPlan) -> _TryOut:
    order = torch.arange(min(inference.batch_size, train.num_images))
    started = time.perf_counter()
    (batch,) = view_batches(train, order, len(order), view=0, plan=plan, device=inference.device)
    loading_s = time.perf_counter() - started
    inference.check_deterministic(batch.images)
    embedding_size = inference.embedding_size(batch.images)
    # Last, when the device is warm.
    started = time.perf_counter()
    inference.outputs(batch.images)
    return _TryOut(embedding_size=embedding_size, image_s=(loading_s + time.perf_counter() - started) / len(order))


def _check_room(job: ShardJob, missing: Sequence[int], progress: Progress) -> None:
    """Tells what will be written.

    Raises:
        RunError: The disk lacks room for it.
    """
    folder, shape = Path(job.folder), job.shape
    needed = len(missing) * shape.num_images * shape.row_bytes
    free = shutil.disk_usage(folder).free
    kept = job.key.num_shards - len(missing)
    sizes = (
        f"{_views(len(missing))} x {shape.num_images:,} images x {shape.row_bytes:,} bytes = {_size(needed)}, "
        f"{_size(free)} are free"
    )
    if needed > free:
        raise RunError(
            f"{folder}: the teacher's answers need {sizes}; lower views.count or teacher.top_k, use --online-teacher, "
            "or choose another --out"
        )
    if missing:
        earlier = f"{_views(kept)} stored already; " if kept else ""
        progress.event("knowledge", f"{earlier}asking the teacher about {sizes}")


def _write_shards(
    job: ShardJob,
    missing: Sequence[int],
    write: Callable[[int, Callable[[int], None]], None],
    pool: ShardPool | None,
    progress: Progress,
) -> None:
    """Writes the shards of `missing` by `write(view, tell)`, or by the pool when it has workers enough."""
    num_images = job.shape.num_images
    total = job.key.num_shards * num_images
    done = total - len(missing) * num_images

    def tell(images: int) -> None:
        nonlocal done
        done += images
        progress.step(_TASK, done, total, "images")

    workers = 0 if pool is None else pool.workers(len(missing))
    if pool is None or workers < 2:
        for view in missing:
            write(view, tell)
        return
    progress.event("knowledge", f"{workers} workers share the views")
    for _ in pool.write(job, missing):
        tell(num_images)


def _summary(manifest: KnowledgeManifest) -> str:
    key, shape, errors = manifest.key, manifest.shape, manifest.errors
    lost = ", ".join(
        f"{part.mean_nats:.1e} nats (at most {part.max_nats:.1e}) at T={part.temperature:g}"
        for part in errors.divergence
    )
    kept = f"; keeping the {shape.top_k} largest of {shape.num_classes} logits costs {lost}" if lost else ""
    return (
        f"stored the teacher's answers to {_views(key.num_shards)} of {shape.num_images:,} images in "
        f"{manifest.build_time_s:.1f} s (largest float16 rounding {errors.max_rounding:.1e}{kept})"
    )


def _views(count: int) -> str:
    return "1 view" if count == 1 else f"{count} views"


def _size(num_bytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} TiB"
