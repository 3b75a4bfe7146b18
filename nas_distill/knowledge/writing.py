"""Write the teacher's outputs: one shard per view, and the outputs for plain images."""

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
from nas_distill.knowledge.features import write_features
from nas_distill.knowledge.inference import TeacherInference
from nas_distill.knowledge.layout import KnowledgeFolder, Receipt, ShardReceipt
from nas_distill.knowledge.pool import ShardJob
from nas_distill.run_directory.files import sync_directory, write_record

_MIN_SUBSET = 1000
_FLOAT32 = np.dtype(np.float32)


def write_shard(
    job: ShardJob,
    view: int,
    inference: TeacherInference,
    train: ImageSplit,
    on_images: Callable[[int], None] = lambda _: None,
) -> None:
    """Run the teacher on one view of every training image and write the shard; its receipt is written last.

    Args:
        job: Folder, key and shapes.
        view: View number.
        inference: Teacher.
        train: Training split, N images.
        on_images: Called after every batch with its number of images.

    Raises:
        TeacherError: An output is NaN, infinite or beyond float16.
        RunError: The files cannot be written.
    """
    folder = KnowledgeFolder(Path(job.folder))
    encoder = ShardEncoder(job.shape, inference.device)
    order = torch.arange(train.num_images)
    with disk_errors(folder.path), ExitStack() as stack:
        folder.views.mkdir(parents=True, exist_ok=True)
        writers = {
            name: stack.enter_context(
                ArrayWriter(folder.array(view, name), array.dtype, (job.shape.num_images, *array.row))
            )
            for name, array in job.shape.arrays.items()
        }
        for batch in view_batches(
            train, order, inference.batch_size, view=view, plan=job.key.plan, device=inference.device
        ):
            outputs = inference.outputs(batch.images)
            for name, rows in encoder.encode(outputs.logits, outputs.embedding).items():
                writers[name].append(rows)
            on_images(len(batch.indices))
        files = tuple(writer.finish() for writer in writers.values())
        sync_directory(folder.views)
        write_record(
            folder.receipt(view),
            ShardReceipt(key_id=job.key.digest(), files=files, view=view, errors=encoder.errors()),
        )


def write_reference(job: ShardJob, inference: TeacherInference, train: ImageSplit, validation: ImageSplit) -> None:
    """Write the teacher's outputs for plain images; their receipt is written last.

    These are the logits of the validation split and of a fixed subset of the training split, and the features of
    validation images if the teacher has any.

    Raises:
        TeacherError: A logit is NaN, infinite or beyond float16.
        RunError: The files cannot be written.
    """
    folder = KnowledgeFolder(Path(job.folder))
    all_positions = np.arange(validation.num_images)
    subset = reference_subset(train.num_images, validation.num_images)
    logits_of = (("validation_logits", validation, all_positions), ("subset_logits", train, subset))
    with disk_errors(folder.path):
        files = []
        for name, split, positions in logits_of:
            shape = (len(positions), job.shape.num_classes)
            with ArrayWriter(folder.reference_array(name), _FLOAT32, shape) as writer:
                for logits in plain_logits(inference, split, torch.from_numpy(positions)):
                    writer.append(logits.cpu().numpy())
                files.append(writer.finish())
        with ArrayWriter(folder.reference_array("subset_indices"), subset.dtype, subset.shape) as writer:
            writer.append(subset)
            files.append(writer.finish())
        features = write_features(folder, inference.teacher, validation, inference.device)
        if features is not None:
            files.append(features)
        sync_directory(folder.path)
        write_record(folder.reference, Receipt(key_id=job.key.digest(), files=tuple(files)))


def reference_subset(num_train: int, num_validation: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the fixed subset of the training images on which every trial is evaluated, int64 [M], sorted.

    M is as large as the validation split and at least 1000, enough to measure an accuracy to about a point.
    """
    size = min(num_train, max(num_validation, _MIN_SUBSET))
    return np.sort(np.random.default_rng(0).permutation(num_train)[:size])


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn an OSError into a RunError about `folder`.

    Raises:
        RunError: The context raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"the teacher's outputs cannot be stored: {error.strerror or error}; free disk space and resume (finished "
            "files are kept), or choose another --out",
            code="knowledge.not_stored",
            field=str(folder),
        ) from error


def plain_logits(inference: TeacherInference, split: ImageSplit, positions: Tensor) -> Iterator[Tensor]:
    """Yield the teacher's logits for plain images batch by batch, float32 [B, C], on its device.

    Args:
        inference: Teacher.
        split: Images.
        positions: Positions in the split, int64 [M].

    Raises:
        TeacherError: A logit is NaN, infinite or beyond float16.
    """
    for batch in split.batches(positions, inference.batch_size, device=inference.device):
        yield inference.outputs(batch.images).logits
