"""The distillation part of one training: the loss, its adaptation between epochs, and the held-out images for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nas_distill.data.views.batches import view_batches
from nas_distill.knowledge.targets import Targets
from nas_distill.losses.registry import DistillationLoss, required_outputs
from nas_distill.model_outputs import ModelOutputs, OutputShapes
from nas_distill.models.memory import with_halved_batches
from nas_distill.models.student import check_student
from nas_distill.records.recipe import Recipe
from nas_distill.train.evaluation import batch_size
from nas_distill.train.teacher_term import TeacherTerm
from nas_distill.train.training_data import TrainingData

if TYPE_CHECKING:
    from nas_distill.train.release import ReleaseWatch

_SAMPLE = 2
"""Number of images that show the shapes of outputs, in eval mode."""

_BATCH = 256
"""Largest number of held-out images per forward pass. Losses that relate images compare this many."""


class DistillationState:
    """Holds the loss and adapts it between epochs.

    Args:
        network: Student on its device. Its output shapes are read; it does not change.
        recipe: Recipe whose losses and adaptation are used.
        data: Images that the student is trained and measured on.
        targets: The teacher's outputs for the views; needed if the recipe has teacher losses.
        seed: Seed of the choice of held-out images.
        device: Device of the training.

    Attributes:
        loss: Loss to minimise.
        positions: Images of the training split that are trained on, int64 [M].

    Raises:
        ConfigError: A loss or parameter is unknown or needs outputs that the targets do not have, or too few images
            would be held out to release any class.
        TeacherError: The teacher does not provide an output that a loss compares.
        SpaceError: The student does not provide it.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        recipe: Recipe,
        data: TrainingData,
        targets: Targets | None,
        seed: int,
        device: torch.device,
    ) -> None:
        self._data = data
        self._targets = targets
        self._device = device
        adaptive = recipe.adaptive
        num_classes = data.train.manifest.num_classes
        student, teacher = _shapes(network, recipe, data, targets, device)
        self.loss = DistillationLoss(recipe, num_classes=num_classes, student=student, teacher=teacher).to(device)
        self._term = TeacherTerm(adaptive, recipe.epochs)
        self.positions = data.positions
        self._watch: ReleaseWatch | None = None
        if adaptive.release:
            # imports scipy, which takes half a second and which few trials need
            from nas_distill.train.release import ReleaseWatch, check_holdout, holdout

            check_holdout(data.train.labels[self.positions], adaptive.release_holdout)
            self.positions, self._held_out = holdout(
                data.train.labels, adaptive.release_holdout, seed, among=self.positions
            )
            self._watch = ReleaseWatch(num_classes, adaptive.release_level)

    def begin_epoch(self, epoch: int) -> None:
        """Prepare the loss for an epoch, counted from 0."""
        self.loss.begin_epoch(epoch, factor=self._term.factor(epoch))

    def end_epoch(self, epoch: int, parts: Mapping[str, float], logits: Callable[[Tensor], Tensor]) -> None:
        """Update the teacher's weight and the released classes after an epoch.

        Args:
            epoch: Epoch, counted from 0.
            parts: Mean of each loss part over the epoch.
            logits: Function from uint8 images to the logits of the measured network, in eval mode.
        """
        if not self.loss.uses_teacher:
            return
        self._term.epoch_done(self.loss.teacher_mean(parts))
        if self._watch is not None and epoch > 0:
            found = self._held_out_alignments(epoch % self._data.plan.count, logits)
            self._watch.update(found, self._data.train.labels[self._held_out])
            self.loss.released.copy_(self._watch.released)

    @property
    def released(self) -> tuple[int, ...]:
        """Classes that are released from the teacher."""
        return tuple(self.loss.released.nonzero().flatten().tolist())

    def state(self) -> dict[str, Any]:
        """Return everything that changes during training, for `save_state`."""
        return {
            "loss": self.loss.state_dict(),
            "term": self._term.state(),
            "watch": None if self._watch is None else self._watch.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore a `state()`."""
        self.loss.load_state_dict(state["loss"])
        self._term.load(state["term"])
        if self._watch is not None:
            self._watch.load(state["watch"])
            self.loss.released.copy_(self._watch.released)

    def _held_out_alignments(self, view: int, logits: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the alignment of each held-out image (see `release.alignments`), float32 [M] on the CPU."""
        from nas_distill.train.release import alignments

        data, targets = self._data, self._targets
        assert targets is not None

        def in_batches_of(size: int) -> Tensor:
            found = []
            batches = view_batches(data.train, self._held_out, size, view=view, plan=data.plan, device=self._device)
            for batch in batches:
                with torch.no_grad():
                    student = logits(batch.images).float()
                teacher = targets.outputs(view, batch.indices, batch.images, self.loss.required_outputs)
                loss = self._teacher_loss(teacher, batch.targets)
                found.append(alignments(student, loss, batch.targets, teacher.logits))
            return torch.cat(found).cpu()

        return with_halved_batches(in_batches_of, min(_BATCH, batch_size(data.train.manifest.image_size)), self._device)

    def _teacher_loss(self, teacher: ModelOutputs, labels: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the weighted sum of the teacher losses as a function of the student's logits."""

        def loss(logits: Tensor) -> Tensor:
            return self.loss.teacher_sum(self.loss.teacher_parts(ModelOutputs(logits), teacher, labels))

        return loss


def _shapes(
    network: nn.Module, recipe: Recipe, data: TrainingData, targets: Targets | None, device: torch.device
) -> tuple[OutputShapes, OutputShapes]:
    """Return the shapes of the student's and the teacher's outputs that the losses of the recipe compare."""
    request = required_outputs(recipe)
    if not request.more_than_logits:
        return OutputShapes(), OutputShapes()
    assert targets is not None
    (batch,) = data.train.batches(data.positions[:_SAMPLE], _SAMPLE, device=device)
    return check_student(network, data.preprocess(batch.images), request), targets.shapes(batch.images, request)
