"""Where a student's targets come from: the stored answers, or the teacher itself."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from nas_distill.knowledge.slab import Slab
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
    """Looks the answers up; one view's slab is open at a time.

    Args:
        knowledge: With stored slabs.
        device: Of the training.
    """

    def __init__(self, knowledge: Knowledge, device: torch.device) -> None:
        self._knowledge = knowledge
        self._device = device
        self._view: int | None = None
        self._slab: Slab | None = None

    def logits(self, view: int, indices: Tensor, images: Tensor) -> Tensor:
        """Returns the stored logits, float32 [B, C]; the images are not looked at.

        Raises:
            RunError: The view's files are damaged.
        """
        del images
        return self._opened(view).logits(indices)

    def embeddings(self, view: int, indices: Tensor) -> Tensor:
        """Returns the stored embeddings, float32 [B, D].

        Raises:
            ConfigError: They are not stored.
            RunError: The view's files are damaged.
        """
        return self._opened(view).embeddings(indices)

    def _opened(self, view: int) -> Slab:
        if self._slab is None or view != self._view:
            self._slab = None  # gives its memory back before the next one asks for some
            self._slab, self._view = self._knowledge.slab(view, self._device), view
        return self._slab


class OnlineTargets:
    """Asks the teacher.

    Args:
        teacher: On the training's device.
    """

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher.settle(next(teacher.parameters()).device)

    def logits(self, view: int, indices: Tensor, images: Tensor) -> Tensor:
        """Returns the teacher's logits for the images, float32 [B, C]."""
        del view, indices
        answers: Tensor = self._teacher(images)
        return answers
