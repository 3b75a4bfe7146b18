"""Reads the constructor arguments that set a network's width and depth from the network itself.

timm's entrypoints fix these arguments inside their functions and do not report them. The modules show them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, cast

import timm.models.regnet
from timm.models.convnext import ConvNeXt
from timm.models.resnet import ResNet
from timm.models.resnetv2 import ResNetV2
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

Arguments = Mapping[str, Any]

_RESNET_BASE = 64
"""Channels of a stage at which `base_width` is the width of one group."""

_REGNET_FIELDS = ("depth", "w0", "wa", "wm", "group_size", "bottle_ratio", "stem_width")


def read_arguments(network: nn.Module, architecture: str) -> Arguments:
    """Return the constructor arguments that set a network's width and depth; none for a class that is not known.

    Args:
        network: timm network on any device.
        architecture: Name of its entrypoint.
    """
    for network_class, read in _READERS.items():
        if isinstance(network, network_class):
            try:
                return read(network, architecture)
            except (AttributeError, LookupError, StopIteration):  # a variant with other modules
                return {}
    return {}


def _resnet(network: Any, architecture: str) -> Arguments:
    del architecture
    stages = [getattr(network, f"layer{number}") for number in range(1, 5)]
    channels = tuple(_last_width(stage) // stage[0].expansion for stage in stages)
    found: dict[str, Any] = {"layers": tuple(len(stage) for stage in stages), "channels": channels}
    groups = _first_convolution(stages[0][0].conv2).groups
    if groups > 1:
        inner = _first_convolution(stages[0][0].conv2).in_channels
        found |= {"cardinality": groups, "base_width": inner * _RESNET_BASE // (groups * channels[0])}
    return found


def _last_width(stage: Any) -> int:
    """Return the output channels of the first block of a ResNet's stage."""
    convolutions = [module for name, module in stage[0].named_children() if name in {"conv2", "conv3"}]
    return int(_first_convolution(convolutions[-1]).out_channels)


def _first_convolution(module: nn.Module) -> nn.Conv2d:
    return next(one for one in module.modules() if isinstance(one, nn.Conv2d))


def _resnetv2(network: Any, architecture: str) -> Arguments:
    del architecture
    if not hasattr(network, "stages"):
        return {}
    return {
        "layers": tuple(len(stage.blocks) for stage in network.stages),
        "channels": tuple(int(info["num_chs"]) for info in network.feature_info[1:]),
    }


def _regnet(network: Any, architecture: str) -> Arguments:
    del network
    config = timm.models.regnet.model_cfgs.get(architecture)
    names = {field.name for field in fields(cast("Any", timm.models.regnet.RegNetCfg))}
    return {} if config is None else {name: getattr(config, name) for name in _REGNET_FIELDS if name in names}


def _convnext(network: Any, architecture: str) -> Arguments:
    del architecture
    return {
        "depths": tuple(len(stage.blocks) for stage in network.stages),
        "dims": tuple(int(info["num_chs"]) for info in network.feature_info),
    }


def _vit(network: Any, architecture: str) -> Arguments:
    del architecture
    heads = getattr(network.blocks[0].attn, "num_heads", None)
    return {} if heads is None else {"embed_dim": network.embed_dim, "depth": len(network.blocks), "num_heads": heads}


def _swin(network: Any, architecture: str) -> Arguments:
    del architecture
    return {
        "embed_dim": network.embed_dim,
        "depths": tuple(len(layer.blocks) for layer in network.layers),
        "num_heads": tuple(layer.blocks[0].attn.num_heads for layer in network.layers),
    }


_READERS: dict[type[nn.Module], Callable[[Any, str], Arguments]] = {
    ResNet: _resnet,
    ResNetV2: _resnetv2,
    timm.models.regnet.RegNet: _regnet,
    ConvNeXt: _convnext,
    VisionTransformer: _vit,
    SwinTransformer: _swin,
}
