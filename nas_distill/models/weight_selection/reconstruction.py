"""Express the channels that a student lacks by those that it keeps, by least squares on the teacher's activations.

Pruning uses the same correction (He, Zhang and Sun 2017, arXiv 1707.06168, section 3.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

_BATCH = 64
_RIDGE = 1e-3
"""Ridge penalty, as a share of the mean second moment of the kept channels."""


@torch.no_grad()
def input_moments(network: nn.Module, names: Iterable[str], inputs: Tensor) -> dict[str, Tensor]:
    """Return the second moments of the inputs of layers.

    Args:
        network: Network in eval mode.
        names: Names of modules; those that are neither convolution nor linear layer are left out.
        inputs: Network inputs, float [N, C, H, W].

    Returns:
        For each layer with T input channels, the mean over images and positions of x x', float [T, T].
    """
    moments: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def add(name: str, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        x: Tensor = arguments[0]
        rows = (x.movedim(1, -1) if isinstance(module, nn.Conv2d) else x).flatten(0, -2).float()
        moments[name] = moments.get(name, torch.zeros((), device=x.device)) + rows.T @ rows
        counts[name] = counts.get(name, 0) + len(rows)

    handles = []
    for name in set(names):
        module = network.get_submodule(name)
        if isinstance(module, nn.Conv2d | nn.Linear):
            handles.append(module.register_forward_pre_hook(partial(add, name)))
    try:
        for batch in torch.split(inputs, _BATCH):
            network(batch)
    finally:
        for handle in handles:
            handle.remove()
    return {name: moment / counts[name] for name, moment in moments.items()}


def reconstruction(moment: Tensor, kept: Tensor) -> Tensor:
    """Return the matrix that maps kept channels to all channels with the least squared error.

    Args:
        moment: Second moments of the channels, float [T, T].
        kept: Indices of the kept channels, int64 [S].

    Returns:
        Matrix A, float [T, S], with x = A x[kept] approximately. A layer with weights W [O, T] becomes W A.
    """
    kept = kept.to(moment.device)
    inner = moment.index_select(0, kept).index_select(1, kept).double()
    ridge = _RIDGE * inner.diagonal().mean().clamp_min(torch.finfo(torch.float32).tiny)
    inner.diagonal().add_(ridge)
    solved: Tensor = torch.linalg.solve(inner, moment.index_select(0, kept).double())
    return solved.T.to(moment.dtype)
