"""Where a student's targets come from: the stored answers, or the teacher itself."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from nas_distill.knowledge.store import Knowledge
from nas_distill.models.teacher import Teacher


class Targets(Protocol):
    """The teacher's logits for a batch of views."""

    def logits(self, view: int, indices: Tensor, images: Tensor) -> Tensor:
        """Returns float32 [B, C].

        Args:
            view: Which view was rendered.
            indices: int64 [B], positions in the training split.
            images: uint8 [B, channels, H, W], the rendered views.
        """


class StoredTargets:
    """Looks the answers up; one view's slab is on the device at a time.

    Args:
        knowledge: With stored slabs.
        device: Of the training.
    """

    def __init__(self, knowledge: Knowledge, device: torch.device) -> None:
        self._knowledge = knowledge
        self._device = device
        self._view: int | None = None
        self._slab = torch.empty(0)

    def logits(self, view: int, indices: Tensor, images: Tensor) -> Tensor:
        """Returns the stored logits, float32 [B, C]; the images are not looked at."""
        del images
        if view != self._view:
            self._slab = self._knowledge.slab(view).to(self._device)
            self._view = view
        return self._slab[indices].float()


class OnlineTargets:
    """Asks the teacher.

    Args:
        teacher: On the training's device.
    """

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher

    def logits(self, view: int, indices: Tensor, images: Tensor) -> Tensor:
        """Returns the teacher's logits for the images, float32 [B, C]."""
        del view, indices
        answers: Tensor = self._teacher(images)
        return answers
