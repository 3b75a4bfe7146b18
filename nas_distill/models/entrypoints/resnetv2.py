"""Pre-activation ResNets with adjustable strides, registered with timm as `small_resnetv2`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from timm.layers import BatchNormAct2d, create_conv2d
from timm.models import build_model_with_cfg, register_model
from timm.models.resnetv2 import ResNetV2

from nas_distill.models.entrypoints.registration import untrained_configs
from nas_distill.models.entrypoints.strides import ALL_STEPS, set_strides

_DEFAULTS: dict[str, Any] = {"layers": (1, 1, 1, 1), "channels": (16, 32, 64, 128), "stem_chs": 16}


class SmallResNetV2(ResNetV2):  # type: ignore[misc]
    """ResNetV2 (He et al. 2016, arXiv 1603.05027) with BatchNorm, as timm's `resnetv2_18` and `resnetv2_50`.

    Parameters have the names of timm's ResNetV2.

    Args:
        layers: Number of blocks of each of the four stages.
        channels: Output channels of each stage.
        block: Kind of block: "basic" (two 3x3 convolutions) or "bottleneck" (1x1, 3x3, 1x1; the inner convolutions
            have a quarter of the output channels).
        strides: Stride, 1 or 2, of the stem's convolution, its pooling, and the last three stages.
        arguments: Other arguments of timm's ResNetV2, among them `stem_chs`, `stem_type` and `avg_down`.
    """

    def __init__(
        self,
        *,
        layers: Sequence[int],
        channels: Sequence[int],
        block: Literal["basic", "bottleneck"] = "basic",
        strides: Sequence[int] = ALL_STEPS,
        **arguments: Any,
    ) -> None:
        basic = block == "basic"
        super().__init__(
            layers=tuple(layers),
            channels=tuple(channels),
            basic=basic,
            bottle_ratio=1.0 if basic else 0.25,
            conv_layer=create_conv2d,
            norm_layer=BatchNormAct2d,
            **arguments,
        )
        set_strides(self, (*self.stem.children(), *self.stages), strides)


default_cfgs = untrained_configs("stem.conv", "head.fc", ("small_resnetv2",))


@register_model  # type: ignore[untyped-decorator]
def small_resnetv2(pretrained: bool = False, **kwargs: Any) -> SmallResNetV2:
    """Build a `SmallResNetV2` from its arguments and those of every timm entrypoint."""
    overlay = kwargs.pop("pretrained_cfg_overlay", None) or {}
    deep = str(kwargs.get("stem_type", "")).startswith(("deep", "tiered"))
    model: SmallResNetV2 = build_model_with_cfg(
        SmallResNetV2,
        "small_resnetv2",
        pretrained,
        feature_cfg={"flatten_sequential": True},
        **{**_DEFAULTS, **kwargs},
        pretrained_cfg_overlay={"first_conv": "stem.conv1" if deep else "stem.conv", **overlay},
    )
    return model
