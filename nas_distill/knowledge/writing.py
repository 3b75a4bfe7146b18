"""Writing what the teacher says: one slab per view, and its answers to plain images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nas_distill.data.splits import ImageSplit
from nas_distill.data.views.batches import view_batches
from nas_distill.errors import RunError
from nas_distill.knowledge.arrays import ArrayWriter
from nas_distill.knowledge.encoding import ShardEncoder
from nas_distill.knowledge.inference import TeacherInference
from nas_distill.knowledge.layout import KnowledgeFolder, Receipt, ShardReceipt
from nas_distill.knowledge.pool import ShardJob
from nas_distill.run_directory.files import sync_directory, write_record

_LEAST_SUBSET = 1000
_SINGLE = np.dtype(np.float32)


def write_shard(
    job: ShardJob,
    view: int,
    inference: TeacherInference,
    train: ImageSplit,
    on_images: Callable[[int], None] = lambda _: None,
) -> None:
    """Asks the teacher about one view of every training image and writes its slab, the receipt last.

    Args:
        job: What to write.
        view: Which view.
        inference: The teacher.
        train: N images.
        on_images: Called after every batch with its number of images.

    Raises:
        TeacherError: The teacher answers NaN, infinities, or numbers beyond float16.
        RunError: The disk is full or the file system refuses.
    """
    folder = KnowledgeFolder(Path(job.folder))
    encoder = ShardEncoder(job.shape, inference.device)
    order = torch.arange(train.num_images)
    with disk_errors(folder.path), ExitStack() as opened:
        folder.views.mkdir(parents=True, exist_ok=True)
        writers = {
            name: opened.enter_context(
                ArrayWriter(folder.array(view, name), array.dtype, (job.shape.num_images, *array.row))
            )
            for name, array in job.shape.arrays.items()
        }
        for batch in view_batches(
            train, order, inference.batch_size, view=view, plan=job.key.plan, device=inference.device
        ):
            said = inference.outputs(batch.images)
            for name, rows in encoder.encode(said.logits, said.embedding).items():
                writers[name].append(rows)
            on_images(len(batch.indices))
        files = tuple(writer.finish() for writer in writers.values())
        sync_directory(folder.views)
        write_record(
            folder.receipt(view),
            ShardReceipt(key_id=job.key.digest(), files=files, view=view, errors=encoder.errors()),
        )


def write_reference(job: ShardJob, inference: TeacherInference, train: ImageSplit, validation: ImageSplit) -> None:
    """Writes the teacher's answers to plain images: the validation split, and a fixed subset of the training split.

    Raises:
        TeacherError: The teacher answers NaN, infinities, or numbers beyond float16.
        RunError: The disk is full or the file system refuses.
    """
    folder = KnowledgeFolder(Path(job.folder))
    everything = np.arange(validation.num_images)
    subset = reference_subset(train.num_images, validation.num_images)
    with disk_errors(folder.path):
        files = []
        for name, split, positions in (("validation_logits", validation, everything), ("subset_logits", train, subset)):
            shape = (len(positions), job.shape.num_classes)
            with ArrayWriter(folder.reference_array(name), _SINGLE, shape) as writer:
                for logits in plain_logits(inference, split, torch.from_numpy(positions)):
                    writer.append(logits.cpu().numpy())
                files.append(writer.finish())
        with ArrayWriter(folder.reference_array("subset_indices"), subset.dtype, subset.shape) as writer:
            writer.append(subset)
            files.append(writer.finish())
        sync_directory(folder.path)
        write_record(folder.reference, Receipt(key_id=job.key.digest(), files=tuple(files)))


def reference_subset(num_train: int, num_validation: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Returns the fixed training subset, int64 [M], sorted.

    Enough images to measure to about a point, never more than needed: the subset is evaluated in every trial.
    """
    size = min(num_train, max(num_validation, _LEAST_SUBSET))
    return np.sort(np.random.default_rng(0).permutation(num_train)[:size])


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turns what the file system refuses into an error that says so.

    Raises:
        RunError: Instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{folder}: the teacher's answers cannot be stored: {error.strerror or error}; free space and resume "
            "(what is finished stays), or choose another --out"
        ) from error


def plain_logits(inference: TeacherInference, split: ImageSplit, positions: Tensor) -> Iterator[Tensor]:
    """Yields the teacher's logits for plain images, float32 [B, C] a batch on its device.

    Args:
        inference: Asks it.
        split: The images.
        positions: int64 [M], which of them.

    Raises:
        TeacherError: It answers NaN, infinities, or numbers beyond float16.
    """
    for batch in split.batches(positions, inference.batch_size, device=inference.device):
        yield inference.outputs(batch.images).logits
