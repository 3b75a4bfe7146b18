"""The training images on which a student's weights are cut from the teacher's."""

from __future__ import annotations

import torch
from torch import Tensor

from nas_distill.models.teacher import Teacher
from nas_distill.models.weight_selection import CutImages
from nas_distill.train.training_data import TrainingData

_MOST_IMAGES, _FEWEST_IMAGES = 512, 64
_PIXELS = 5_000_000
"""Most pixels of all images, because they pass through the student in one batch."""


def cut_images(data: TrainingData, teacher: Teacher) -> CutImages:
    """Return a random choice of training images, without augmentation; always the same for the same images.

    Args:
        data: Images that the student is trained on, with the teacher's normalisation.
        teacher: Teacher, on its device.
    """
    positions = data.positions  # without the images of a fold that is left out
    order = torch.randperm(len(positions), generator=torch.Generator().manual_seed(0))
    count = max(_FEWEST_IMAGES, min(_MOST_IMAGES, _PIXELS // data.train.manifest.image_size**2))
    chosen = positions[order[:count]].sort().values
    batches = data.train.batches(chosen, count, device=torch.device("cpu"))
    images: Tensor = torch.cat([batch.images for batch in batches])
    device = next(teacher.network.parameters()).device
    return CutImages(student=data.preprocess(images), teacher=teacher.preprocess(images.to(device)))
