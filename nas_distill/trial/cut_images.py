"""The training images on which a student's weights are cut from the teacher's."""

from __future__ import annotations

import torch
from torch import Tensor

from nas_distill.models.teacher import Teacher
from nas_distill.models.weight_selection import CutImages
from nas_distill.train.training_data import TrainingData

_COUNT = 512
"""Most images; from as many, a layer with a few hundred channels can be reconstructed."""


def cut_images(data: TrainingData, teacher: Teacher) -> CutImages:
    """Return a random choice of training images, without augmentation; always the same for the same images.

    Args:
        data: Images that the student is trained on, with the teacher's normalisation.
        teacher: Teacher, on its device.
    """
    positions = data.positions  # without the images of a fold that is left out
    order = torch.randperm(len(positions), generator=torch.Generator().manual_seed(0))
    chosen = positions[order[:_COUNT]].sort().values
    batches = data.train.batches(chosen, _COUNT, device=torch.device("cpu"))
    images: Tensor = torch.cat([batch.images for batch in batches])
    device = next(teacher.network.parameters()).device
    return CutImages(student=data.preprocess(images), teacher=teacher.preprocess(images.to(device)))
