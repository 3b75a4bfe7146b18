"""The weighted sum of the losses of a recipe."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nas_distill.losses.entries import STANDARDISE, TEMPERATURE_NAME, LossEntry, Need
from nas_distill.losses.functional import standardise
from nas_distill.losses.functional.numerics import at_least_float32, targets_like
from nas_distill.losses.resolved import ResolvedLoss, required_outputs, resolve_losses
from nas_distill.losses.sample_weighting import (
    label_weights,
    released_weights,
    sample_weights,
    weight_gradients,
    weighted_cross_entropy,
)
from nas_distill.losses.schedules import label_weight, scheduled_value
from nas_distill.model_outputs import ModelOutputs, OutputShapes, Shape
from nas_distill.records.recipe import Recipe

TOTAL = "total"
LABEL = "label"


class LossTerm(nn.Module):
    """One loss with the values of its parameters and its learned parameters.

    Args:
        entry: The registered loss.
        parameters: Value of each parameter, as `entry.resolve` returns them.
        student: Shape of the student's features of one image; used only by feature losses with learned parameters.
        teacher: Shape of the teacher's features of one image; used by the same losses.

    Raises:
        ConfigError: The learned part cannot be built for these shapes.
    """

    def __init__(
        self, entry: LossEntry, parameters: Mapping[str, float], *, student: Shape = (), teacher: Shape = ()
    ) -> None:
        super().__init__()
        self._function = entry.function
        self._own = entry.function_parameters(parameters)
        self._takes_targets = Need.LABELS in entry.needs
        self._standardise = bool(parameters.get(STANDARDISE))
        self.learned = None if entry.learned is None else entry.learned(student, teacher, **self._own)

    @property
    def temperature(self) -> float | None:
        """The current temperature; None for a loss without one, or with a learned one."""
        return None if self.learned is not None else self._own.get(TEMPERATURE_NAME)

    @temperature.setter
    def temperature(self, value: float) -> None:
        self._own[TEMPERATURE_NAME] = value

    def forward(self, student: Tensor, teacher: Tensor, targets: Tensor) -> Tensor:
        """Return the loss before weighting, a scalar.

        Args:
            student: Student outputs that the loss compares: logits [B, C], embeddings [B, D] or a map [B, C, H, W].
            teacher: The same outputs of the teacher; no gradient flows to them.
            targets: Labels, int64 [B], or the share of each class in mixed images, float [B, C]; used by losses that
                need labels.
        """
        if self._standardise:
            student, teacher = standardise(student), standardise(teacher.detach())
        if self.learned is not None:
            learned: Tensor = self.learned(student, teacher)
            return learned
        if self._takes_targets:
            return self._function(student, teacher, targets, **self._own)
        return self._function(student, teacher, **self._own)


class DistillationLoss(nn.Module):
    """The weighted sum of the losses of a recipe; it also returns each part by name.

    It has parameters only if one of its losses has (`Need.LEARNING`). The trainer must then put `parameters()` into
    the optimiser and `state_dict()` into the checkpoint. It always moves this module to the device and calls
    `begin_epoch`.

    Args:
        recipe: Recipe whose losses, adaptation, label weight and label smoothing are used.
        num_classes: Number of classes C; needed only for per-class release.
        student: Shapes of the student outputs named by `required_outputs`.
        teacher: Shapes of the same outputs of the teacher.

    Attributes:
        required_outputs: Outputs of student and teacher besides logits that the losses compare.
        released: Whether each class is released from the teacher, bool [C].

    Raises:
        ConfigError: A loss or parameter is unknown, a value is out of range, a setting of `recipe.adaptive` does not
            apply, or a learned part cannot be built for these shapes.
    """

    released: Tensor

    def __init__(
        self,
        recipe: Recipe,
        *,
        num_classes: int = 0,
        student: OutputShapes = OutputShapes(),  # noqa: B008 - immutable
        teacher: OutputShapes = OutputShapes(),  # noqa: B008 - immutable
    ) -> None:
        super().__init__()
        self._adaptive, self._epochs = recipe.adaptive, recipe.epochs
        self._label_weight, self._label_smoothing = recipe.label_weight, recipe.label_smoothing
        self.required_outputs = required_outputs(recipe)
        self._losses = resolve_losses(recipe)
        self._factor = 1.0
        self._terms = {
            loss.name: LossTerm(
                loss.entry, loss.parameters, student=self._shape(student, loss), teacher=self._shape(teacher, loss)
            )
            for loss in self._losses
        }
        # The ModuleDict registers the parameters; the plain mapping keeps the type.
        self.terms = nn.ModuleDict(self._terms)
        # A buffer on the device, so that no step synchronises with the host.
        self.register_buffer("released", torch.zeros(num_classes, dtype=torch.bool), persistent=False)

    @property
    def uses_teacher(self) -> bool:
        """Whether any loss uses the teacher in this epoch."""
        return bool(self._losses) and self._factor > 0

    def learned_parameters(self) -> tuple[list[nn.Parameter], ...]:
        """Return one list of parameters for each loss that learns some."""
        found = (list(term.parameters()) for term in self._terms.values())
        return tuple(parameters for parameters in found if parameters)

    def begin_epoch(self, epoch: int, *, factor: float = 1.0) -> None:
        """Update schedules and learned losses for an epoch. Called before its first step.

        Args:
            epoch: Epoch, counted from 0.
            factor: Factor of the weights of all teacher losses, 0 to 1; at 0 the teacher is not used.
        """
        self._factor = factor
        adaptive = self._adaptive
        for loss in self._losses:
            term = self._terms[loss.name]
            if term.learned is not None:
                term.learned.begin_epoch(epoch)
            if adaptive.temperature_schedule != "constant" and term.temperature is not None:
                own = loss.parameters[TEMPERATURE_NAME]
                term.temperature = scheduled_value(
                    adaptive.temperature_schedule, own, adaptive.temperature_end, epoch, self._epochs
                )

    def forward(self, student: ModelOutputs, teacher: ModelOutputs | None, targets: Tensor) -> dict[str, Tensor]:
        """Return the scalar `total` and each part before weighting.

        Args:
            student: Student outputs of B images.
            teacher: Teacher outputs of the same images; None only when `uses_teacher` is false.
            targets: Labels, int64 [B], or the share of each class in mixed images, float [B, C].

        Raises:
            TeacherError: The teacher's outputs have another number of images, other classes or other shapes.
        """
        own, smoothing = self._label_weight, self._label_smoothing
        logits = at_least_float32(student.logits)
        label = cross_entropy(logits, targets_like(targets, logits), label_smoothing=smoothing)
        unreleased = released_weights(targets, self.released) if self._adaptive.release else None
        if unreleased is None:
            total = label_weight(own, self._factor) * label
        else:
            weights = label_weights(own, self._factor, unreleased)
            total = weighted_cross_entropy(logits, targets, weights, label_smoothing=smoothing)
        found = {LABEL: label}
        if self.uses_teacher:
            assert teacher is not None
            distilled = self.teacher_parts(student, teacher, targets, unreleased)
            found |= distilled
            total = total + self._factor * self.teacher_sum(distilled)
        return {TOTAL: total, **found}

    def teacher_parts(
        self, student: ModelOutputs, teacher: ModelOutputs, targets: Tensor, unreleased: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the teacher losses by name, before weighting. Their gradients contain the weight of each image.

        Args:
            student: Student outputs of B images.
            teacher: Teacher outputs of the same images.
            targets: Labels or class shares, as in `forward`.
            unreleased: Weight of each image after per-class release, 0 to 1, [B]; None for 1.
        """
        student = self._weighted(student, teacher, targets, unreleased)
        return {
            loss.name: self._terms[loss.name](self._compared(student, loss), self._compared(teacher, loss), targets)
            for loss in self._losses
        }

    def teacher_sum(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the teacher losses."""
        return torch.stack([loss.weight * parts[loss.name] for loss in self._losses]).sum()

    def teacher_mean(self, parts: Mapping[str, float]) -> float:
        """Return the weighted sum of the teacher losses among `parts`, for plain numbers."""
        return sum(loss.weight * parts.get(loss.name, 0.0) for loss in self._losses)

    def _weighted(
        self, student: ModelOutputs, teacher: ModelOutputs, targets: Tensor, unreleased: Tensor | None
    ) -> ModelOutputs:
        """Return the student outputs with the gradient of each image multiplied by its weight."""
        if unreleased is None and self._adaptive.sample_weighting == "none":
            return student
        weights = sample_weights(self._adaptive.sample_weighting, teacher.logits, targets)
        if unreleased is not None:
            weights = weights * unreleased
        return ModelOutputs(
            weight_gradients(student.logits, weights),
            None if student.embedding is None else weight_gradients(student.embedding, weights),
            tuple(weight_gradients(feature_map, weights) for feature_map in student.maps),
        )

    def _compared(self, outputs: ModelOutputs, loss: ResolvedLoss) -> Tensor:
        if loss.depth is not None:
            return outputs.maps[self.required_outputs.depths.index(loss.depth)]
        if loss.takes_embedding:
            assert outputs.embedding is not None
            return outputs.embedding
        return outputs.logits

    def _shape(self, shapes: OutputShapes, loss: ResolvedLoss) -> Shape:
        if loss.depth is not None and shapes.maps:
            return shapes.maps[self.required_outputs.depths.index(loss.depth)]
        return shapes.embedding or () if loss.takes_embedding else ()
