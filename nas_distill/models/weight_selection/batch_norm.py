"""Measure the statistics of batch normalisation anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def measured_batch_norm(network: nn.Module) -> Iterator[None]:
    """Let the next forward pass replace running means and variances by those of its batch; all else is in eval mode.

    Args:
        network: Network, or the body of one. Its training mode is restored afterwards.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    modes = {module: module.training for module in network.modules()}
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches since the reset
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in modes.items():
            module.training = training


@torch.no_grad()
def recompute_batch_norm(network: nn.Module, inputs: Tensor) -> None:
    """Replace running means and variances by those over `inputs`, float [N, C, H, W] with N at least 2."""
    with measured_batch_norm(network):
        network(inputs)
