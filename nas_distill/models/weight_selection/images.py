"""Images on which weights are cut, and what the teacher computes from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

_ROWS = 4096
"""Most positions, over all images, at which the inputs of a layer are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activations:
    """What a network computes from images.

    Attributes:
        inputs: Inputs of each linear layer and ungrouped convolution, by name: some rows of `input_rows`, bfloat16.
        positions: Number of all rows of each of them.
        logits: Logits, float32 [N, C].
    """

    inputs: dict[str, Tensor]
    positions: dict[str, int]
    logits: Tensor


class CutImages:
    """The same training images as inputs of both networks. The teacher's activations are computed once.

    Args:
        student: Inputs of the student, float [N, C, H, W].
        teacher: Inputs of the teacher on its device, float [N, C', H', W'].
    """

    def __init__(self, *, student: Tensor, teacher: Tensor) -> None:
        self.student = student
        self.teacher = teacher
        self._activations: Activations | None = None

    def activations(self, teacher: nn.Module) -> Activations:
        """Return what the teacher computes from the images, on the CPU.

        Args:
            teacher: Network of the teacher, in eval mode; the same one in each call.
        """
        if self._activations is None:
            self._activations = _activations(teacher, self.teacher)
        return self._activations


def mixes_channels(module: nn.Module) -> bool:
    """Return whether a layer sums over all of its input channels."""
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)


def input_rows(module: nn.Module, x: Tensor) -> Tensor:
    """Return the inputs of a layer as one row of channels for each image and position, [M, C]."""
    return (x.movedim(1, -1) if isinstance(module, nn.Conv2d) else x).flatten(0, -2)


def chosen_rows(rows: Tensor) -> Tensor:
    """Return some rows; the same ones for all tensors with as many rows."""
    if len(rows) <= _ROWS:
        return rows
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:_ROWS]
    return rows.index_select(0, order.to(rows.device))


@torch.no_grad()
def _activations(network: nn.Module, inputs: Tensor) -> Activations:
    found: dict[str, Tensor] = {}
    positions: dict[str, int] = {}

    def keep(name: str, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        rows = input_rows(module, arguments[0])
        positions[name] = len(rows)
        found[name] = chosen_rows(rows).to("cpu", torch.bfloat16)

    handles = [
        module.register_forward_pre_hook(partial(keep, name))
        for name, module in network.named_modules()
        if mixes_channels(module)
    ]
    try:
        logits: Tensor = network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return Activations(inputs=found, positions=positions, logits=logits.float().cpu())
