"""The deployed form of networks that train with more branches than they need afterwards."""

from __future__ import annotations

import copy

import timm.utils
import torch
from torch import nn

_HOOKS = ("fuse", "reparameterize", "switch_to_deploy")
"""Methods by which modules of timm merge their branches."""


def fused(network: nn.Module) -> nn.Module:
    """Return a copy of a network with merged branches, in eval mode; the network itself if it has none to merge.

    RepVGG, MobileOne, FastViT, RepViT and others train with parallel branches and norms. Both forms have the same
    outputs in eval mode, and the merged form is smaller and faster.

    Args:
        network: Network on any device. It is not changed.
    """
    if not any(hasattr(module, hook) for module in network.modules() for hook in _HOOKS):
        return network
    with torch.no_grad(), torch.device(next(network.parameters()).device):  # timm creates the merged layers
        merged: nn.Module = timm.utils.reparameterize_model(copy.deepcopy(network).eval(), inplace=True)
    return merged
