"""The teacher's penultimate features of plain validation images, with which students' are compared."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nas_distill.data.splits import ImageSplit
from nas_distill.errors import TeacherError
from nas_distill.knowledge.arrays import ArrayWriter
from nas_distill.knowledge.inference import TeacherInference
from nas_distill.knowledge.layout import FEATURES, FileReceipt, KnowledgeFolder, Receipt
from nas_distill.models.teacher import Teacher
from nas_distill.run_directory.files import sync_directory, write_record

MAX_IMAGES = 4096
"""Enough for a similarity to two digits, and little to keep of an ImageNet's 50,000."""

_SAMPLE = 2
"""Images that show whether the teacher gives features: any device has room for so many."""


def feature_positions(num_images: int) -> Tensor:
    """Returns the validation images whose features are compared: int64 [M], ascending, evenly spaced.

    Args:
        num_images: N of the split; M is N, or `MAX_IMAGES` if that is less.
    """
    count = min(num_images, MAX_IMAGES)
    return torch.arange(count) * num_images // count


def write_features(path: Path, key_id: str, teacher: Teacher, validation: ImageSplit, device: torch.device) -> None:
    """Writes the features, float32 [M, D], and their receipt; the receipt of nothing where the teacher gives none.

    Args:
        path: The knowledge folder.
        key_id: Digest of its key.
        teacher: Moved to `device`.
        validation: The split.
        device: Where the teacher answers.

    Raises:
        TeacherError: The teacher answers NaN, infinities, or numbers beyond float16.
        OSError: The file system refuses.
    """
    folder = KnowledgeFolder(path)
    inference = TeacherInference(teacher, device, embeddings=True)
    positions = feature_positions(validation.num_images)
    batches = validation.batches(positions, inference.batch_size, device=device)
    first = next(batches)
    try:
        width = inference.embedding_size(first.images[:_SAMPLE])
    except TeacherError:
        width = 0
    files: tuple[FileReceipt, ...] = ()
    if width:
        shape = (len(positions), width)
        with ArrayWriter(folder.reference_array(FEATURES), np.dtype(np.float32), shape) as writer:
            for batch in chain((first,), batches):
                embedding = inference.outputs(batch.images).embedding
                assert embedding is not None
                writer.append(embedding.cpu().numpy())
            files = (writer.finish(),)
    sync_directory(path)
    write_record(folder.features, Receipt(key_id=key_id, files=files))
