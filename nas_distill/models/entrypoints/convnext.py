"""A ConvNeXt with a stem of stride 2, registered with timm as `small_convnext` and `small_convnextv2`.

timm's own ConvNeXt halves the resolution again in its first stage if `patch_size` is 2. Its total stride is then 32, as
with patches of 4 pixels, and no setting gives a total stride of 16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.layers import trunc_normal_
from timm.models import build_model_with_cfg, register_model
from timm.models.convnext import ConvNeXt
from torch import nn

from nas_distill.models.entrypoints.registration import untrained_configs

_STRIDE = 2
_DEFAULTS: dict[str, Any] = {"depths": (1, 1, 2, 1), "dims": (16, 32, 64, 128), "conv_mlp": True}


class SmallConvNeXt(ConvNeXt):  # type: ignore[misc]
    """ConvNeXt (Liu et al. 2022, arXiv 2201.03545) whose stem and stages have total strides 2, 4, 8 and 16.

    Parameters have the names and, except the stem's, the shapes of timm's ConvNeXt.

    Args:
        dims: Channels of the four stages.
        in_chans: Number of input channels.
        arguments: Other arguments of timm's ConvNeXt, without the stem's.
    """

    def __init__(self, *, dims: Sequence[int], in_chans: int = 3, **arguments: Any) -> None:
        super().__init__(dims=tuple(dims), in_chans=in_chans, patch_size=1, **arguments)
        self.stem[0] = nn.Conv2d(in_chans, dims[0], _STRIDE, stride=_STRIDE, bias=self.stem[0].bias is not None)
        trunc_normal_(self.stem[0].weight, std=0.02)
        if self.stem[0].bias is not None:
            nn.init.zeros_(self.stem[0].bias)
        for info in self.feature_info:
            info["reduction"] *= _STRIDE


default_cfgs = untrained_configs("stem.0", "head.fc", ("small_convnext", "small_convnextv2"))


@register_model  # type: ignore[untyped-decorator]
def small_convnext(pretrained: bool = False, **kwargs: Any) -> SmallConvNeXt:
    """Build a `SmallConvNeXt` of version 1 from its arguments and those of every timm entrypoint."""
    return _create("small_convnext", pretrained, kwargs)


@register_model  # type: ignore[untyped-decorator]
def small_convnextv2(pretrained: bool = False, **kwargs: Any) -> SmallConvNeXt:
    """Build a `SmallConvNeXt` of version 2: with global response normalisation and without layer scale."""
    return _create("small_convnextv2", pretrained, {"use_grn": True, "ls_init_value": None, **kwargs})


def _create(name: str, pretrained: bool, arguments: dict[str, Any]) -> SmallConvNeXt:
    model: SmallConvNeXt = build_model_with_cfg(
        SmallConvNeXt,
        name,
        pretrained,
        feature_cfg={"out_indices": (0, 1, 2, 3), "flatten_sequential": True},
        **{**_DEFAULTS, **arguments},
    )
    return model
