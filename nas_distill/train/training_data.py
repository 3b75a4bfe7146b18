"""The images that a network is trained and measured on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nas_distill.data.splits import ImageSplit
from nas_distill.data.views.plan import ViewPlan
from nas_distill.models.preprocess import Preprocess


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """The images that a network is trained and measured on.

    Attributes:
        train: Training split.
        validation: Split that the network is measured on.
        plan: Plan of the views of the training images; epoch e trains on view e mod count.
        preprocess: Conversion from uint8 images to network inputs.
        train_indices: Positions in `train` that are trained on, int64 [M]; None for all.
        validation_indices: Positions in `validation` that are measured on, int64 [V]; None for all.
    """

    train: ImageSplit
    validation: ImageSplit
    plan: ViewPlan
    preprocess: Preprocess
    train_indices: Tensor | None = None
    validation_indices: Tensor | None = None

    @property
    def positions(self) -> Tensor:
        """Positions in `train` that are trained on, int64 [M]."""
        return torch.arange(self.train.num_images) if self.train_indices is None else self.train_indices
