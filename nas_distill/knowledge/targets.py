"""`Targets`: the teacher's outputs for a student's batch, from storage or from the teacher itself."""

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
    """Source of the teacher's outputs for views of training images."""

    def outputs(self, view: int, indices: Tensor, images: Tensor, request: OutputRequest) -> ModelOutputs:
        """Return the teacher's outputs, float32, on the device of the training.

        Args:
            view: View number.
            indices: Positions in the training split, int64 [B].
            images: Rendered views, uint8 [B, channels, H, W].
            request: Outputs to return besides the logits; `shapes` has accepted this request.
        """

    def shapes(self, images: Tensor, request: OutputRequest) -> OutputShapes:
        """Return the shapes of the requested outputs for one image.

        Args:
            images: Images to try, uint8 [B, channels, H, W].
            request: Outputs to return besides the logits.

        Raises:
            ConfigError: A requested output is not stored.
            TeacherError: The teacher does not have a requested output.
        """


class StoredTargets:
    """Reads the teacher's outputs from storage; one view's shard is open at a time.

    Args:
        knowledge: Knowledge folder with stored views.
        device: Device of the training.
    """

    def __init__(self, knowledge: Knowledge, device: torch.device) -> None:
        self._knowledge = knowledge
        self._device = device
        self._view: int | None = None
        self._shard: Shard | None = None

    def outputs(self, view: int, indices: Tensor, images: Tensor, request: OutputRequest) -> ModelOutputs:
        """Return the stored outputs (see `Targets.outputs`); `images` is not used.

        Raises:
            RunError: A file of the view's shard is missing or damaged.
        """
        del images
        shard = self._open_shard(view)
        return ModelOutputs(shard.logits(indices), shard.embeddings(indices) if request.embedding else None)

    def shapes(self, images: Tensor, request: OutputRequest) -> OutputShapes:
        """Return the shapes of the stored outputs (see `Targets.shapes`); `images` is not used.

        Raises:
            ConfigError: A requested output is not stored.
        """
        del images
        size = self._knowledge.manifest.shape.embedding_size
        if request.depths:
            raise ConfigError(
                "a loss needs the teacher's feature maps, which cannot be stored; set teacher.online=true "
                "(--online-teacher)",
                code="knowledge.feature_maps_not_stored",
                field="recipe.losses",
            )
        if request.embedding and not size:
            raise ConfigError(
                "a loss needs the teacher's embeddings, which are not stored; set teacher.embeddings=true or "
                "teacher.online=true",
                code="knowledge.embeddings_not_stored",
                field="recipe.losses",
            )
        return OutputShapes((size,) if request.embedding else None)

    def _open_shard(self, view: int) -> Shard:
        if self._shard is None or view != self._view:
            self._shard = None  # free its memory before the next shard is opened
            self._shard, self._view = self._knowledge.shard(view, self._device), view
        return self._shard


class OnlineTargets:
    """Runs the teacher on every batch.

    Args:
        teacher: Teacher on the device of the training.
    """

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher.to_device(next(teacher.parameters()).device)

    def outputs(self, view: int, indices: Tensor, images: Tensor, request: OutputRequest) -> ModelOutputs:
        """Return the teacher's outputs for `images` (see `Targets.outputs`)."""
        del view, indices
        return self._teacher.outputs(images, request)

    def shapes(self, images: Tensor, request: OutputRequest) -> OutputShapes:
        """Return the shapes of the teacher's outputs (see `Targets.shapes`).

        Raises:
            TeacherError: The teacher does not have a requested output.
        """
        return self._teacher.check_outputs(images, request)
