"""Images on which weights are cut, and what the teacher computes from them."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

_BATCH = 64


class CutImages:
    """The same training images as inputs of both networks. The teacher's activations are computed once.

    Args:
        student: Inputs of the student, float [N, C, H, W].
        teacher: Inputs of the teacher on its device, float [N, C', H', W'].
    """

    def __init__(self, *, student: Tensor, teacher: Tensor) -> None:
        self.student = student
        self.teacher = teacher
        self._moments: dict[str, Tensor] = {}

    def moments(self, teacher: nn.Module) -> dict[str, Tensor]:
        """Return the second moments of the inputs of the teacher's layers.

        Args:
            teacher: Network of the teacher, in eval mode; the same one in each call.

        Returns:
            For each linear layer and ungrouped convolution with T input channels, by name: the mean over images and
            positions of x x', float [T, T].
        """
        if not self._moments:
            self._moments = input_moments(teacher, self.teacher)
        return self._moments


@torch.no_grad()
def input_moments(network: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Return the second moments of the inputs of all linear layers and ungrouped convolutions, see `CutImages`."""
    moments: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def add(name: str, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        x: Tensor = arguments[0]
        rows = (x.movedim(1, -1) if isinstance(module, nn.Conv2d) else x).flatten(0, -2).float()
        moments[name] = moments.get(name, torch.zeros((), device=x.device)) + rows.T @ rows
        counts[name] = counts.get(name, 0) + len(rows)

    handles = [
        module.register_forward_pre_hook(partial(add, name))
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
    ]
    try:
        for batch in torch.split(inputs, _BATCH):
            network(batch)
    finally:
        for handle in handles:
            handle.remove()
    return {name: moment / counts[name] for name, moment in moments.items()}
