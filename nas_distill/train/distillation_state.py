"""The teacher's part in one training: the loss, what adapts it from epoch to epoch, and the images that decide it."""

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
"""Images that show the shapes of signals; batch normalisation is in eval mode then."""

_BATCH = 256
"""Held-out images per forward pass, at most: losses that relate images see so many at once."""


class DistillationState:
    """Holds the loss and moves it from epoch to epoch.

    Args:
        network: On its device; its shapes are looked at, nothing of it changes.
        recipe: Whose losses and adaptation are used.
        data: The images.
        targets: The teacher's answers; needed when the recipe has teacher losses.
        seed: Of the choice of held-out images.
        device: Of the training.

    Attributes:
        loss: What is minimised.
        positions: int64 [M], the images of the training split that are trained on.

    Raises:
        ConfigError: A loss or parameter is unknown or asks for what the targets do not have, or too few images would be
            held out to release any class.
        TeacherError: The teacher has no such signals.
        SpaceError: The student has none.
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
            # scipy: half a second that few trials need
            from nas_distill.train.release import ReleaseWatch, check_holdout, holdout

            check_holdout(data.train.labels[self.positions], adaptive.release_holdout)
            self.positions, self._held_out = holdout(
                data.train.labels, adaptive.release_holdout, seed, among=self.positions
            )
            self._watch = ReleaseWatch(num_classes, adaptive.release_level)

    def begin_epoch(self, epoch: int) -> None:
        """Move the loss to epoch number `epoch`, from 0."""
        self.loss.begin_epoch(epoch, factor=self._term.factor(epoch))

    def end_epoch(self, epoch: int, parts: Mapping[str, float], answer: Callable[[Tensor], Tensor]) -> None:
        """Looks at what the epoch came to.

        Args:
            epoch: From 0.
            parts: Mean of each loss part over it.
            answer: From uint8 images to the logits of the evaluated weights, in eval mode.
        """
        if not self.loss.uses_teacher:
            return
        self._term.epoch_done(self.loss.teacher_mean(parts))
        if self._watch is not None and epoch > 0:
            found = self._held_out_alignments(epoch % self._data.plan.count, answer)
            self._watch.update(found, self._data.train.labels[self._held_out])
            self.loss.released.copy_(self._watch.released)

    @property
    def released(self) -> tuple[int, ...]:
        """Classes whose teacher terms are dropped."""
        return tuple(self.loss.released.nonzero().flatten().tolist())

    def state(self) -> dict[str, Any]:
        """Return everything that changes, for `save_state`."""
        return {
            "loss": self.loss.state_dict(),
            "term": self._term.state(),
            "watch": None if self._watch is None else self._watch.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes back to a `state()`."""
        self.loss.load_state_dict(state["loss"])
        self._term.load(state["term"])
        if self._watch is not None:
            self._watch.load(state["watch"])
            self.loss.released.copy_(self._watch.released)

    def _held_out_alignments(self, view: int, answer: Callable[[Tensor], Tensor]) -> Tensor:
        """Return, per held-out image, how well the teacher's pull agrees with that of the label, on the CPU."""
        from nas_distill.train.release import alignments

        data, targets = self._data, self._targets
        assert targets is not None

        def in_batches_of(size: int) -> Tensor:
            found = []
            batches = view_batches(data.train, self._held_out, size, view=view, plan=data.plan, device=self._device)
            for batch in batches:
                with torch.no_grad():
                    logits = answer(batch.images).float()
                teacher = targets.outputs(view, batch.indices, batch.images, self.loss.required_outputs)
                pull = self._pull_towards(teacher, batch.targets)
                found.append(alignments(logits, pull, batch.targets, teacher.logits))
            return torch.cat(found).cpu()

        return with_halved_batches(in_batches_of, min(_BATCH, batch_size(data.train.manifest.image_size)), self._device)

    def _pull_towards(self, teacher: ModelOutputs, labels: Tensor) -> Callable[[Tensor], Tensor]:
        def pull(logits: Tensor) -> Tensor:
            return self.loss.teacher_sum(self.loss.teacher_parts(ModelOutputs(logits), teacher, labels))

        return pull


def _shapes(
    network: nn.Module, recipe: Recipe, data: TrainingData, targets: Targets | None, device: torch.device
) -> tuple[OutputShapes, OutputShapes]:
    """Return the shapes of the student's and the teacher's signals, as far as the recipe's losses want them."""
    request = required_outputs(recipe)
    if not request.more_than_logits:
        return OutputShapes(), OutputShapes()
    assert targets is not None
    (batch,) = data.train.batches(data.positions[:_SAMPLE], _SAMPLE, device=device)
    return check_student(network, data.preprocess(batch.images), request), targets.shapes(batch.images, request)
