"""`build_knowledge`: run the teacher once on every image and view, and store its outputs."""

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
from nas_distill.knowledge.inference import TeacherInference
from nas_distill.knowledge.inspection import Inspection, inspect_folder
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
"""Work that would take this process less time is not shared: workers take about ten seconds to import and to open
data and teacher."""

_TASK = "teacher outputs"


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
    """Store the teacher's outputs, or open them if they are stored already.

    The outputs are stored in `root/ID` (see `layout`), where ID is the digest of teacher, data, views and storage
    settings. Complete files of an earlier build are verified and kept, all others are written; the manifest is written
    last.

    Args:
        teacher: Teacher; moved to `device`.
        train: Training split, N images.
        validation: Validation split.
        plan: Augmentation settings of the views.
        online: Whether the teacher runs during training; then only its outputs for plain images are stored.
        root: Knowledge folder of the run.
        device: Device to run the teacher on in this process.
        progress: Receives the storage size, damaged files, and the number of processed images.
        storage: Outputs to store; all defaults if None.
        pool: Worker processes that share the shards if this process alone would take long; None for no workers.

    Returns:
        The opened knowledge folder.

    Raises:
        TeacherError: An output is NaN, infinite or beyond float16, the teacher is not deterministic, or it has no
            embedding to store.
        RunError: The disk lacks space, or a file cannot be written.
    """
    key = _make_key(teacher, train, plan, OutputStorage() if storage is None else storage, online=online)
    folder = KnowledgeFolder(root / key.digest())
    found = inspect_folder(folder.path, key)
    for problem in found.problems:
        progress.event("warning", f"{problem}; it is written again")
    if found.manifest is not None and not found.problems:
        progress.event("knowledge", f"the teacher's outputs are already stored ({folder.path.name})")
        return Knowledge(folder.path)
    with disk_errors(folder.path):
        _clear(folder, key, found)
    _complete(
        folder,
        found,
        key=key,
        inference=TeacherInference(teacher, device, embeddings=key.embeddings),
        train=train,
        validation=validation,
        progress=progress,
        pool=pool,
    )
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


def _missing_views(key: KnowledgeKey, found: Inspection) -> list[int]:
    return [view for view in range(key.num_shards) if view not in found.shards]


def _clear(folder: KnowledgeFolder, key: KnowledgeKey, found: Inspection) -> None:
    """Remove incomplete shards, and the manifest, so that no trial uses the folder during the build."""
    folder.views.mkdir(parents=True, exist_ok=True)
    folder.manifest.unlink(missing_ok=True)
    for view in _missing_views(key, found):
        folder.receipt(view).unlink(missing_ok=True)
        for name in key.shard_arrays:
            folder.array(view, name).unlink(missing_ok=True)
    remove_temporary_files(folder.path)
    remove_temporary_files(folder.views)


def _complete(
    folder: KnowledgeFolder,
    found: Inspection,
    *,
    key: KnowledgeKey,
    inference: TeacherInference,
    train: ImageSplit,
    validation: ImageSplit,
    progress: Progress,
    pool: ShardPool | None,
) -> None:
    """Write every file that the inspection has not found; the manifest is written last."""
    started = time.perf_counter()
    missing = _missing_views(key, found)
    probe = _probe(inference, train, key.plan)
    job = ShardJob(
        folder=str(folder.path),
        key=key,
        shape=ShardShape(
            num_images=train.num_images,
            num_classes=inference.teacher.num_classes,
            top_k=key.top_k,
            embedding_size=probe.embedding_size,
        ),
    )
    _check_disk_space(job, missing, progress)
    if not found.reference:
        write_reference(job, inference, train, validation)
    _write_shards(
        job,
        missing,
        lambda view, on_images: write_shard(job, view, inference, train, on_images),
        pool if probe.image_s * train.num_images * len(missing) > _WORTH_WORKERS_S else None,
        progress,
    )
    with disk_errors(folder.path):
        remove_temporary_files(folder.views)  # of workers that were killed
    manifest = _make_manifest(job, found, missing, build_time_s=time.perf_counter() - started)
    write_record(folder.manifest, manifest)
    progress.event("knowledge", _summary(manifest))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Probe:
    """Measurements on one batch.

    Attributes:
        embedding_size: Width of the embeddings to store; 0 for none.
        image_s: Seconds per image in this process.
    """

    embedding_size: int
    image_s: float


def _probe(inference: TeacherInference, train: ImageSplit, plan: ViewPlan) -> _Probe:
    """Check the teacher on one batch and measure its speed."""
    order = torch.arange(min(inference.batch_size, train.num_images))
    started = time.perf_counter()
    (batch,) = view_batches(train, order, len(order), view=0, plan=plan, device=inference.device)
    loading_s = time.perf_counter() - started
    inference.check_deterministic(batch.images)
    embedding_size = inference.embedding_size(batch.images)
    # Timed last, when the device is warm.
    started = time.perf_counter()
    inference.outputs(batch.images)
    return _Probe(embedding_size=embedding_size, image_s=(loading_s + time.perf_counter() - started) / len(order))


def _check_disk_space(job: ShardJob, missing: Sequence[int], progress: Progress) -> None:
    """Check that the disk has room for the missing shards, and report their size.

    Raises:
        RunError: The disk has less free space.
    """
    folder, shape = Path(job.folder), job.shape
    needed = len(missing) * shape.num_images * shape.row_bytes
    free = shutil.disk_usage(folder).free
    complete = job.key.num_shards - len(missing)
    sizes = (
        f"{_views(len(missing))} x {shape.num_images:,} images x {shape.row_bytes:,} bytes = {_size(needed)} "
        f"({_size(free)} free)"
    )
    if needed > free:
        raise RunError(
            f"the teacher's outputs need {sizes}; lower views.count or teacher.top_k, use --online-teacher, or choose "
            "another --out",
            code="knowledge.no_disk_space",
            field=str(folder),
        )
    if missing:
        earlier = f" ({_views(complete)} already stored)" if complete else ""
        progress.event("knowledge", f"running the teacher on {sizes}{earlier}")


def _write_shards(
    job: ShardJob,
    missing: Sequence[int],
    write: Callable[[int, Callable[[int], None]], None],
    pool: ShardPool | None,
    progress: Progress,
) -> None:
    """Write the missing shards with `write(view, on_images)`, or with the pool if it has at least two workers."""
    num_images = job.shape.num_images
    total = job.key.num_shards * num_images
    done = total - len(missing) * num_images

    def on_images(count: int) -> None:
        nonlocal done
        done += count
        progress.step(_TASK, done, total, "images")

    workers = 0 if pool is None else pool.workers(len(missing))
    if pool is None or workers < 2:
        for view in missing:
            write(view, on_images)
        return
    progress.event("knowledge", f"{workers} workers share the views")
    pool.write(job, missing, on_written=lambda: on_images(num_images))


def _make_manifest(
    job: ShardJob, found: Inspection, written: Sequence[int], *, build_time_s: float
) -> KnowledgeManifest:
    folder = KnowledgeFolder(Path(job.folder))
    errors = [read_record(folder.receipt(view), ShardReceipt).errors for view in written]
    return KnowledgeManifest(
        key=job.key,
        shape=job.shape,
        errors=merge_errors([*found.shards.values(), *errors]),
        build_time_s=round(build_time_s, 3),
    )


def _summary(manifest: KnowledgeManifest) -> str:
    key, shape, errors = manifest.key, manifest.shape, manifest.errors
    details = f"largest float16 rounding {errors.max_rounding:.1e}"
    if errors.divergence:
        divergences = ", ".join(
            f"{part.mean_nats:.1e} nats on average, {part.max_nats:.1e} at most, at T={part.temperature:g}"
            for part in errors.divergence
        )
        details += f"; divergence from storing {shape.top_k} of {shape.num_classes} logits: {divergences}"
    return (
        f"stored the teacher's outputs for {_views(key.num_shards)} of {shape.num_images:,} images in "
        f"{manifest.build_time_s:.1f} s ({details})"
    )


def _views(count: int) -> str:
    return "1 view" if count == 1 else f"{count} views"


def _size(num_bytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} TiB"
