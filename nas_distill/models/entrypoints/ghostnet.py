"""GhostNets of any width, registered with timm as `small_ghostnet`.

timm's own entrypoints fix the width, have a head of 1,280 channels, and drop 20 % of the features during training
unless dropout is set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.layers import make_divisible
from timm.models import build_model_with_cfg, register_model
from timm.models.ghostnet import GhostNet
from torch import nn

from nas_distill.models.entrypoints.registration import untrained_configs
from nas_distill.models.entrypoints.strides import ALL_STEPS, set_strides

_Block = tuple[int, int, int, float, int]
_STAGES: tuple[tuple[_Block, ...], ...] = (
    # Kernel size, inner channels, output channels, share of channels in squeeze-and-excitation, stride.
    ((3, 16, 16, 0, 1),),
    ((3, 48, 24, 0, 2),),
    ((3, 72, 24, 0, 1),),
    ((5, 72, 40, 0.25, 2),),
    ((5, 120, 40, 0.25, 1),),
    ((3, 240, 80, 0, 2),),
    ((3, 200, 80, 0, 1), (3, 184, 80, 0, 1), (3, 184, 80, 0, 1), (3, 480, 112, 0.25, 1), (3, 672, 112, 0.25, 1)),
    ((5, 672, 160, 0.25, 2),),
    ((5, 960, 160, 0, 1), (5, 960, 160, 0.25, 1), (5, 960, 160, 0, 1), (5, 960, 160, 0.25, 1)),
)
_HEAD = 1280


class SmallGhostNet(GhostNet):  # type: ignore[misc]
    """GhostNet (Han et al. 2020, arXiv 1911.11907) or GhostNetV2 (Tang et al. 2022, arXiv 2211.12905).

    Parameters have the names of timm's GhostNet. The network has no stochastic depth.

    Args:
        version: 1 for GhostNet, 2 for GhostNetV2.
        width: Factor on all channels, the head's included.
        depth: Factor on the number of blocks of stages with several; the first ones of each stage stay, at least one.
        strides: Stride, 1 or 2, of the stem and of the four stages that halve the resolution.
        num_classes: Number of classes; 0 for a network that returns the features of the head.
        drop_rate: Dropout probability before the classifier.
        arguments: Other arguments of timm's GhostNet.
    """

    def __init__(
        self,
        *,
        version: int = 1,
        width: float = 1.0,
        depth: float = 1.0,
        strides: Sequence[int] = ALL_STEPS,
        num_classes: int = 10,
        drop_rate: float = 0.0,
        **arguments: Any,
    ) -> None:
        if version not in {1, 2}:
            raise ValueError(f"version {version} must be 1 or 2")
        super().__init__(
            [[list(block) for block in stage[: max(1, round(depth * len(stage)))]] for stage in _STAGES],
            width=width,
            version=f"v{version}",
            num_classes=num_classes,
            drop_rate=drop_rate,
            **arguments,
        )
        self.head_hidden_size = make_divisible(_HEAD * width, 8)
        self.conv_head = nn.Conv2d(self.num_features, self.head_hidden_size, 1)
        self.reset_classifier(num_classes)
        set_strides(self, (self.conv_stem, *self.blocks), strides)


default_cfgs = untrained_configs("conv_stem", "classifier", ("small_ghostnet",))


@register_model  # type: ignore[untyped-decorator]
def small_ghostnet(pretrained: bool = False, **kwargs: Any) -> SmallGhostNet:
    """Build a `SmallGhostNet` from its arguments and those of every timm entrypoint."""
    model: SmallGhostNet = build_model_with_cfg(
        SmallGhostNet, "small_ghostnet", pretrained, feature_cfg={"flatten_sequential": True}, **kwargs
    )
    return model
