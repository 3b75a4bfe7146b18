"""Where a student's targets come from: the stored answers, or the teacher itself."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from nas_distill.errors import ConfigError
from nas_distill.knowledge.shard import Shard
from nas_distill.knowledge.store import Knowledge
from nas_distill.model_outputs import ModelOutputs, OutputRequest, OutputShapes
from nas_distill.models.teacher import Teacher


class Targets(Protocol):
    """What the teacher says of views."""

    def outputs(self, view: int, indices: Tensor, images: Tensor, wanted: OutputRequest) -> ModelOutputs:
        """Returns the teacher's signals, float32, on the device of the training.

        Args:
            view: Which view was rendered.
            indices: int64 [B], positions in the training split.
            images: uint8 [B, channels, H, W], the rendered views.
            wanted: Which; `shapes` has accepted it.
        """

    def shapes(self, images: Tensor, wanted: OutputRequest) -> OutputShapes:
        """Returns the shapes of the signals of one image.

        Args:
            images: uint8 [B, channels, H, W], some to try it on.
            wanted: Which.

        Raises:
            ConfigError: They are not stored.
            TeacherError: The teacher has none.
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
        self._shard: Shard | None = None

    def outputs(self, view: int, indices: Tensor, images: Tensor, wanted: OutputRequest) -> ModelOutputs:
        """Returns the stored signals (`Targets.signals`); the images are not looked at.

        Raises:
            RunError: The view's files are damaged.
        """
        del images
        shard = self._opened(view)
        return ModelOutputs(shard.logits(indices), shard.embeddings(indices) if wanted.embedding else None)

    def shapes(self, images: Tensor, wanted: OutputRequest) -> OutputShapes:
        """Returns the shapes of the stored signals (`Targets.shapes`).

        Raises:
            ConfigError: They are not stored.
        """
        del images
        size = self._knowledge.manifest.shape.embedding_size
        if wanted.depths:
            raise ConfigError(
                "recipe.losses: feature maps of the teacher are wanted, which are not stored; set teacher.online=true "
                "(--online-teacher)"
            )
        if wanted.embedding and not size:
            raise ConfigError(
                "recipe.losses: the teacher's embeddings are wanted, which were not stored; set "
                "teacher.embeddings=true, or teacher.online=true"
            )
        return OutputShapes((size,) if wanted.embedding else None)

    def _opened(self, view: int) -> Shard:
        if self._shard is None or view != self._view:
            self._shard = None  # gives its memory back before the next one asks for some
            self._shard, self._view = self._knowledge.shard(view, self._device), view
        return self._shard


class OnlineTargets:
    """Asks the teacher.

    Args:
        teacher: On the training's device.
    """

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher.to_device(next(teacher.parameters()).device)

    def outputs(self, view: int, indices: Tensor, images: Tensor, wanted: OutputRequest) -> ModelOutputs:
        """Returns the teacher's signals of the images (`Targets.signals`)."""
        del view, indices
        return self._teacher.outputs(images, wanted)

    def shapes(self, images: Tensor, wanted: OutputRequest) -> OutputShapes:
        """Returns the shapes of the teacher's signals (`Targets.shapes`).

        Raises:
            TeacherError: It has no such signals.
        """
        return self._teacher.check_outputs(images, wanted)
