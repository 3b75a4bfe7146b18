"""The teacher's penultimate features of validation images, with which students' features are compared."""

from __future__ import annotations

from itertools import chain

import numpy as np
import torch
from torch import Tensor

from nas_distill.data.splits import ImageSplit
from nas_distill.errors import TeacherError
from nas_distill.knowledge.arrays import ArrayWriter
from nas_distill.knowledge.inference import TeacherInference
from nas_distill.knowledge.layout import FEATURES, KnowledgeFolder
from nas_distill.models.teacher import Teacher
from nas_distill.run_directory.receipts import FileReceipt

MAX_IMAGES = 4096
"""Enough images to measure a similarity to two digits; the 50,000 of ImageNet would take too much space."""

_PROBE_IMAGES = 2
"""Images with which the teacher is tested for features; any device has memory for two."""


def feature_positions(num_images: int) -> Tensor:
    """Return the positions of the validation images whose features are compared: int64 [M], ascending, evenly spaced.

    Args:
        num_images: Number of validation images N; M is min(N, `MAX_IMAGES`).
    """
    count = min(num_images, MAX_IMAGES)
    return torch.arange(count) * num_images // count


def write_features(
    folder: KnowledgeFolder, teacher: Teacher, validation: ImageSplit, device: torch.device
) -> FileReceipt | None:
    """Write the features, float32 [M, D], and return the receipt of the file; None if the teacher has no features.

    Args:
        folder: Knowledge folder.
        teacher: Teacher; moved to `device`.
        validation: Validation split.
        device: Device to run the teacher on.

    Raises:
        TeacherError: A logit is NaN, infinite or beyond float16.
        OSError: The file cannot be written.
    """
    inference = TeacherInference(teacher, device, embeddings=True)
    positions = feature_positions(validation.num_images)
    batches = validation.batches(positions, inference.batch_size, device=device)
    first = next(batches)
    try:
        width = inference.embedding_size(first.images[:_PROBE_IMAGES])
    except TeacherError:
        width = 0
    if not width:
        return None
    shape = (len(positions), width)
    with ArrayWriter(folder.reference_array(FEATURES), np.dtype(np.float32), shape) as writer:
        for batch in chain((first,), batches):
            embedding = inference.outputs(batch.images).embedding
            assert embedding is not None
            writer.append(embedding.cpu().numpy())
        return writer.finish()
