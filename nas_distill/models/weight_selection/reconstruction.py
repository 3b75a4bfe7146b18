"""Fit a student's layers, one after the other, to the inputs that they have instead of the teacher's.

Channel pruning fits the next layer in the same way (He, Zhang and Sun 2017, arXiv 1707.06168, sections 3.1 and 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nas_distill.models.weight_selection.batch_norm import measured_batch_norm
from nas_distill.models.weight_selection.images import Activations, CutImages, chosen_rows, input_rows, mixes_channels

_RIDGE = 1e-3
"""Least ridge penalty, as a share of the mean second moment of the student's channels."""
_ENOUGH_ROWS = 10
"""Rows for each channel from which on the least penalty is used; with fewer, it grows with the square of their lack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherLayer:
    """A layer of the teacher that one of the student follows from.

    Attributes:
        name: Name of the layer.
        weight: Its weights with the outputs of the student and all inputs, [O, T, ...].
        kept: Its input channels that the student keeps, int64 [S].
    """

    name: str
    weight: Tensor
    kept: Tensor


@torch.no_grad()
def fit_layers(
    student: nn.Module, layers: Mapping[str, TeacherLayer], teacher: nn.Module, images: CutImages
) -> frozenset[str]:
    """Replace weights by those whose outputs for the student's inputs are nearest to the teacher's.

    The images pass through the student once. Before each layer computes, its weights W [O, T] of the teacher become
    W A [O, S], where A is the least-squares map from the layer's inputs in the student, S channels, to those in the
    teacher, T channels; a ridge penalty draws A to the selection of the kept channels. Later layers thereby correct
    the errors of earlier ones. A classifier without a counterpart is fitted to the teacher's logits. Batch
    normalisation is measured on the way.

    Args:
        student: Student, or its body; its other weights are already cut. Its training mode is restored.
        layers: The teacher's layer for each layer of the student, by name.
        teacher: Network of the teacher, in eval mode.
        images: Images.

    Returns:
        Names of the tensors of a fitted classifier.
    """
    activations = images.activations(teacher)
    classifier = getattr(student, "get_classifier", lambda: None)()
    fitted: set[str] = set()

    def fit(name: str, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        rows = input_rows(module, arguments[0])
        if name in layers:
            _fit_layer(module, rows, layers[name], activations)
        elif module is classifier and isinstance(module, nn.Linear) and len(rows) == len(activations.logits):
            _fit_classifier(module, rows, activations.logits)
            fitted.update(f"{name}.{key}" for key, _ in module.named_parameters())

    handles = [
        module.register_forward_pre_hook(partial(fit, name))
        for name, module in student.named_modules()
        if mixes_channels(module)
    ]
    try:
        with measured_batch_norm(student):
            student(images.student)
    finally:
        for handle in handles:
            handle.remove()
    return frozenset(fitted)


def _fit_layer(module: nn.Module, rows: Tensor, layer: TeacherLayer, activations: Activations) -> None:
    if activations.positions.get(layer.name) != len(rows):
        return  # another resolution, such as that of other patches: the slices stay
    own = chosen_rows(rows).double()
    theirs = activations.inputs[layer.name].to(own)
    selection = torch.zeros(own.shape[1], theirs.shape[1]).to(own)
    selection[torch.arange(own.shape[1]), layer.kept.to(own.device)] = 1.0
    mapping = selection + _solve(own, theirs - own @ selection)  # [S, T]
    weight = layer.weight.to(mapping)
    module.weight.copy_(torch.tensordot(weight, mapping, dims=([1], [1])).movedim(-1, 1))  # type: ignore[operator]


def _fit_classifier(module: nn.Linear, rows: Tensor, logits: Tensor) -> None:
    own = rows.double()
    theirs = logits.to(own)
    centre, level = own.mean(0), theirs.mean(0)
    weight = _solve(own - centre, theirs - level).T
    module.weight.copy_(weight)
    if module.bias is not None:
        module.bias.copy_(level - weight @ centre)


def _solve(rows: Tensor, targets: Tensor) -> Tensor:
    """Return the ridge regression of targets [M, T] on rows [M, S], without intercept: [S, T]."""
    count, size = rows.shape
    ridge = _RIDGE * max(1.0, _ENOUGH_ROWS * size / count) ** 2
    gram = rows.T @ rows
    gram.diagonal().add_(ridge * gram.diagonal().mean().clamp_min(torch.finfo(torch.float32).tiny))
    solved: Tensor = torch.linalg.solve(gram, rows.T @ targets)
    return solved
