"""Measure the statistics of batch normalisation anew."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_BATCH = 64


@torch.no_grad()
def recompute_batch_norm(network: nn.Module, inputs: Tensor) -> None:
    """Replace running means and variances by those over `inputs`; nothing else changes.

    Args:
        network: Network, or the body of one. Its training mode is restored afterwards.
        inputs: Network inputs, float [N, C, H, W], at least 2.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return
    modes = {module: module.training for module in network.modules()}
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    for batch in torch.split(inputs, _BATCH):
        if len(batch) > 1:
            network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for module, training in modes.items():
        module.training = training
