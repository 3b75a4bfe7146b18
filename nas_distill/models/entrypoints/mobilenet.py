"""MobileNets of any width and depth, registered with timm as `small_mobilenetv2`, `...v3` and `...v4`.

timm's own entrypoints fix both, and their heads of at least 1,024 channels outweigh the rest of a narrow network. The
tables of blocks are those of timm; its `decode_arch_def` explains the notation.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

from timm.layers import get_act_layer
from timm.models import build_model_with_cfg, register_model
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._efficientnet_builder import round_channels
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from torch import nn

from nas_distill.models.entrypoints.block_tables import BlockTable, scaled_blocks, scaled_width
from nas_distill.models.entrypoints.registration import untrained_configs
from nas_distill.models.entrypoints.strides import ALL_STEPS, set_strides

_V2: BlockTable = (
    ("ds_r1_k3_s1_c16",),
    ("ir_r2_k3_s2_e6_c24",),
    ("ir_r3_k3_s2_e6_c32",),
    ("ir_r4_k3_s2_e6_c64",),
    ("ir_r3_k3_s1_e6_c96",),
    ("ir_r3_k3_s2_e6_c160",),
    ("ir_r1_k3_s1_e6_c320",),
)
_V3: dict[str, BlockTable] = {
    "small": (
        ("ds_r1_k3_s2_e1_c16_se0.25_nre",),
        ("ir_r1_k3_s2_e4.5_c24_nre", "ir_r1_k3_s1_e3.67_c24_nre"),
        ("ir_r1_k5_s2_e4_c40_se0.25", "ir_r2_k5_s1_e6_c40_se0.25"),
        ("ir_r2_k5_s1_e3_c48_se0.25",),
        ("ir_r3_k5_s2_e6_c96_se0.25",),
        ("cn_r1_k1_s1_c576",),
    ),
    "large": (
        ("ds_r1_k3_s1_e1_c16_nre",),
        ("ir_r1_k3_s2_e4_c24_nre", "ir_r1_k3_s1_e3_c24_nre"),
        ("ir_r3_k5_s2_e3_c40_se0.25_nre",),
        ("ir_r1_k3_s2_e6_c80", "ir_r1_k3_s1_e2.5_c80", "ir_r2_k3_s1_e2.3_c80"),
        ("ir_r2_k3_s1_e6_c112_se0.25",),
        ("ir_r3_k5_s2_e6_c160_se0.25",),
        ("cn_r1_k1_s1_c960",),
    ),
}
_V4: dict[str, BlockTable] = {
    "small": (
        ("cn_r1_k3_s2_e1_c32", "cn_r1_k1_s1_e1_c32"),
        ("cn_r1_k3_s2_e1_c96", "cn_r1_k1_s1_e1_c64"),
        ("uir_r1_a5_k5_s2_e3_c96", "uir_r4_a0_k3_s1_e2_c96", "uir_r1_a3_k0_s1_e4_c96"),
        (
            "uir_r1_a3_k3_s2_e6_c128", "uir_r1_a5_k5_s1_e4_c128", "uir_r1_a0_k5_s1_e4_c128", "uir_r1_a0_k5_s1_e3_c128",
            "uir_r2_a0_k3_s1_e4_c128",
        ),
        ("cn_r1_k1_s1_c960",),
    ),
    "medium": (
        ("er_r1_k3_s2_e4_c48",),
        ("uir_r1_a3_k5_s2_e4_c80", "uir_r1_a3_k3_s1_e2_c80"),
        (
            "uir_r1_a3_k5_s2_e6_c160", "uir_r2_a3_k3_s1_e4_c160", "uir_r1_a3_k5_s1_e4_c160", "uir_r1_a3_k3_s1_e4_c160",
            "uir_r1_a3_k0_s1_e4_c160", "uir_r1_a0_k0_s1_e2_c160", "uir_r1_a3_k0_s1_e4_c160",
        ),
        (
            "uir_r1_a5_k5_s2_e6_c256", "uir_r1_a5_k5_s1_e4_c256", "uir_r2_a3_k5_s1_e4_c256", "uir_r1_a0_k0_s1_e4_c256",
            "uir_r1_a3_k0_s1_e4_c256", "uir_r1_a3_k5_s1_e2_c256", "uir_r1_a5_k5_s1_e4_c256", "uir_r2_a0_k0_s1_e4_c256",
            "uir_r1_a5_k0_s1_e2_c256",
        ),
        ("cn_r1_k1_s1_c960",),
    ),
}  # fmt: skip
_HEAD = 1280


class SmallMobileNetV2(EfficientNet):  # type: ignore[misc]
    """MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381). Parameters have the names of timm's MobileNetV2.

    Args:
        width: Factor on all channels, the head's included. They are rounded to multiples of 8.
        depth: Factor on the number of blocks of each stage, which is rounded and at least 1.
        strides: Stride, 1 or 2, of the stem and of the four stages that halve the resolution.
        arguments: Other arguments of timm's EfficientNet.
    """

    def __init__(
        self, *, width: float = 1.0, depth: float = 1.0, strides: Sequence[int] = ALL_STEPS, **arguments: Any
    ) -> None:
        super().__init__(
            num_features=scaled_width(_HEAD, width),
            act_layer=get_act_layer("relu6"),
            **scaled_blocks(_V2, width, depth),
            **arguments,
        )
        set_strides(self, (self.conv_stem, *self.blocks), strides)


class _PooledHeadMobileNet(MobileNetV3):  # type: ignore[misc]
    """MobileNet whose last convolution comes after pooling.

    Args:
        size: Table of blocks.
        width: Factor on all channels, the head's included. They are rounded to multiples of 8.
        depth: Factor on the number of blocks of each stage. Blocks that differ from the others of their stage stay.
        strides: Stride, 1 or 2, of the stem and of the four stages that halve the resolution.
        arguments: Other arguments of timm's MobileNetV3.
    """

    tables: ClassVar[dict[str, BlockTable]]
    heads: ClassVar[dict[str, int]]
    settings: ClassVar[dict[str, Any]]

    def __init__(
        self,
        *,
        size: str = "small",
        width: float = 1.0,
        depth: float = 1.0,
        strides: Sequence[int] = ALL_STEPS,
        **arguments: Any,
    ) -> None:
        if size not in self.tables:
            raise ValueError(f"size '{size}' must be one of {', '.join(self.tables)}")
        super().__init__(
            num_features=scaled_width(self.heads[size], width),
            **scaled_blocks(self.tables[size], width, depth),
            **self.settings,
            **arguments,
        )
        set_strides(self, (self.conv_stem, *self.blocks), strides)


class SmallMobileNetV3(_PooledHeadMobileNet):
    """MobileNetV3 (Howard et al. 2019, arXiv 1905.02244), "small" or "large", with the parameter names of timm's."""

    tables = _V3
    heads: ClassVar = {"small": 1024, "large": _HEAD}
    settings: ClassVar = {
        "stem_size": 16,
        "act_layer": get_act_layer("hard_swish"),
        "se_layer": partial(
            SqueezeExcite, gate_layer="hard_sigmoid", force_act_layer=nn.ReLU, rd_round_fn=round_channels
        ),
    }


class SmallMobileNetV4(_PooledHeadMobileNet):
    """MobileNetV4 without attention (Qin et al. 2024, arXiv 2404.10518), with the parameter names of timm's.

    It has the sizes "small" and "medium".
    """

    tables = _V4
    heads: ClassVar = {"small": _HEAD, "medium": _HEAD}
    settings: ClassVar = {"stem_size": 32, "act_layer": get_act_layer("relu"), "head_bias": False, "head_norm": True}


default_cfgs = untrained_configs(
    "conv_stem", "classifier", ("small_mobilenetv2", "small_mobilenetv3", "small_mobilenetv4")
)


@register_model  # type: ignore[untyped-decorator]
def small_mobilenetv2(pretrained: bool = False, **kwargs: Any) -> SmallMobileNetV2:
    """Build a `SmallMobileNetV2` from its arguments and those of every timm entrypoint."""
    model: SmallMobileNetV2 = build_model_with_cfg(SmallMobileNetV2, "small_mobilenetv2", pretrained, **kwargs)
    return model


@register_model  # type: ignore[untyped-decorator]
def small_mobilenetv3(pretrained: bool = False, **kwargs: Any) -> SmallMobileNetV3:
    """Build a `SmallMobileNetV3` from its arguments and those of every timm entrypoint."""
    model: SmallMobileNetV3 = build_model_with_cfg(SmallMobileNetV3, "small_mobilenetv3", pretrained, **kwargs)
    return model


@register_model  # type: ignore[untyped-decorator]
def small_mobilenetv4(pretrained: bool = False, **kwargs: Any) -> SmallMobileNetV4:
    """Build a `SmallMobileNetV4` from its arguments and those of every timm entrypoint."""
    model: SmallMobileNetV4 = build_model_with_cfg(SmallMobileNetV4, "small_mobilenetv4", pretrained, **kwargs)
    return model
