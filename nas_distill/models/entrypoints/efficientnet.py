"""EfficientNets of any width and depth, registered with timm as `small_efficientnet`.

The tables of blocks are those of timm's `efficientnet_b0` and `tf_efficientnetv2_b0`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.layers import get_act_layer
from timm.models import build_model_with_cfg, register_model
from timm.models.efficientnet import EfficientNet

from nas_distill.models.entrypoints.block_tables import BlockTable, scaled_blocks, scaled_width
from nas_distill.models.entrypoints.registration import untrained_configs
from nas_distill.models.entrypoints.strides import ALL_STEPS, set_strides

_TABLES: dict[int, BlockTable] = {
    1: (
        ("ds_r1_k3_s1_e1_c16_se0.25",),
        ("ir_r2_k3_s2_e6_c24_se0.25",),
        ("ir_r2_k5_s2_e6_c40_se0.25",),
        ("ir_r3_k3_s2_e6_c80_se0.25",),
        ("ir_r3_k5_s1_e6_c112_se0.25",),
        ("ir_r4_k5_s2_e6_c192_se0.25",),
        ("ir_r1_k3_s1_e6_c320_se0.25",),
    ),
    2: (
        ("cn_r1_k3_s1_e1_c16_skip",),
        ("er_r2_k3_s2_e4_c32",),
        ("er_r2_k3_s2_e4_c48",),
        ("ir_r3_k3_s2_e4_c96_se0.25",),
        ("ir_r5_k3_s1_e6_c112_se0.25",),
        ("ir_r8_k3_s2_e6_c192_se0.25",),
    ),
}
_HEAD = 1280


class SmallEfficientNet(EfficientNet):  # type: ignore[misc]
    """EfficientNet (Tan and Le 2019, arXiv 1905.11946) or EfficientNetV2 (Tan and Le 2021, arXiv 2104.00298).

    Parameters have the names of timm's EfficientNet.

    Args:
        version: Table of blocks: 1 for EfficientNet, 2 for EfficientNetV2.
        width: Factor on all channels, the head's included. They are rounded to multiples of 8.
        depth: Factor on the number of blocks of each stage, which is rounded and at least 1.
        strides: Stride, 1 or 2, of the stem and of the four stages that halve the resolution.
        arguments: Other arguments of timm's EfficientNet.
    """

    def __init__(
        self,
        *,
        version: int = 1,
        width: float = 1.0,
        depth: float = 1.0,
        strides: Sequence[int] = ALL_STEPS,
        **arguments: Any,
    ) -> None:
        if version not in _TABLES:
            raise ValueError(f"version {version} must be 1 or 2")
        super().__init__(
            num_features=scaled_width(_HEAD, width),
            act_layer=get_act_layer("silu"),
            **scaled_blocks(_TABLES[version], width, depth),
            **arguments,
        )
        set_strides(self, (self.conv_stem, *self.blocks), strides)


default_cfgs = untrained_configs("conv_stem", "classifier", ("small_efficientnet",))


@register_model  # type: ignore[untyped-decorator]
def small_efficientnet(pretrained: bool = False, **kwargs: Any) -> SmallEfficientNet:
    """Build a `SmallEfficientNet` from its arguments and those of every timm entrypoint."""
    model: SmallEfficientNet = build_model_with_cfg(SmallEfficientNet, "small_efficientnet", pretrained, **kwargs)
    return model
