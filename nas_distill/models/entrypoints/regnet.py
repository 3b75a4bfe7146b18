"""RegNets with adjustable strides, registered with timm as `small_regnet`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.models import build_model_with_cfg, register_model
from timm.models.regnet import RegNet, RegNetCfg

from nas_distill.models.entrypoints.registration import untrained_configs
from nas_distill.models.entrypoints.strides import ALL_STEPS, set_strides

_DEFAULTS: dict[str, Any] = {"depth": 8, "w0": 16, "wa": 16.0, "wm": 2.0, "group_size": 8, "stem_width": 16}


class SmallRegNet(RegNet):  # type: ignore[misc]
    """RegNet (Radosavovic et al. 2020, arXiv 2003.13678). Parameters have the names of timm's RegNet.

    Args:
        strides: Stride, 1 or 2, of the stem and of the four stages.
        arguments: Other arguments of timm's RegNet, among them those of `RegNetCfg`: `depth`, `w0`, `wa`, `wm`,
            `group_size`, `se_ratio` and `stem_width`.
    """

    def __init__(self, *, strides: Sequence[int] = ALL_STEPS, **arguments: Any) -> None:
        super().__init__(RegNetCfg(), **arguments)
        set_strides(self, self.children(), strides)


default_cfgs = untrained_configs("stem.conv", "head.fc", ("small_regnet",))


@register_model  # type: ignore[untyped-decorator]
def small_regnet(pretrained: bool = False, **kwargs: Any) -> SmallRegNet:
    """Build a `SmallRegNet` from its arguments and those of every timm entrypoint."""
    model: SmallRegNet = build_model_with_cfg(SmallRegNet, "small_regnet", pretrained, **{**_DEFAULTS, **kwargs})
    return model
