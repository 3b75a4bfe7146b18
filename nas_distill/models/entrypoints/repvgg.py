"""RepVGG of any shape, registered with timm as `small_repvgg`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.models import build_model_with_cfg, register_model
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from torch import nn

from nas_distill.models.entrypoints.registration import untrained_configs
from nas_distill.models.entrypoints.strides import ALL_STEPS, set_strides

_DEFAULTS: dict[str, Any] = {"widths": (16, 32, 64, 128), "depths": (1, 2, 4, 1)}


class SmallRepVgg(ByobNet):  # type: ignore[misc]
    """RepVGG (Ding et al. 2021, arXiv 2101.03697). Parameters have the names of timm's RepVGG.

    Blocks have parallel branches during training. `nas_distill.models.costs.fusion` merges those of each block into one
    3x3 convolution, without a change of the outputs.

    Args:
        widths: Channels of each of the four stages. The stem has those of the first stage.
        depths: Number of blocks of each stage.
        strides: Stride, 1 or 2, of the stem and of the four stages.
        arguments: Other arguments of timm's ByobNet.
    """

    def __init__(
        self, *, widths: Sequence[int], depths: Sequence[int], strides: Sequence[int] = ALL_STEPS, **arguments: Any
    ) -> None:
        blocks = tuple(
            ByoBlockCfg(type="rep", d=depth, c=width, s=2) for depth, width in zip(depths, widths, strict=True)
        )
        super().__init__(ByoModelCfg(blocks=blocks, stem_type="rep", stem_chs=widths[0]), **arguments)
        set_strides(self, (self.stem, *self.stages), strides)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                # As in the authors' code. timm draws weights of about 0.1, and training then starts slowly.
                module.reset_parameters()


default_cfgs = untrained_configs(("stem.conv_kxk.conv", "stem.conv_1x1.conv"), "head.fc", ("small_repvgg",))


@register_model  # type: ignore[untyped-decorator]
def small_repvgg(pretrained: bool = False, **kwargs: Any) -> SmallRepVgg:
    """Build a `SmallRepVgg` from its arguments and those of every timm entrypoint."""
    model: SmallRepVgg = build_model_with_cfg(
        SmallRepVgg, "small_repvgg", pretrained, feature_cfg={"flatten_sequential": True}, **{**_DEFAULTS, **kwargs}
    )
    return model
