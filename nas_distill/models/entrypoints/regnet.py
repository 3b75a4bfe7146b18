"""RegNets with adjustable strides, registered with timm as `small_regnet`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.models import build_model_with_cfg, register_model
from timm.models.regnet import RegNet, RegNetCfg, generate_regnet

from nas_distill.models.entrypoints.registration import untrained_configs
from nas_distill.models.entrypoints.strides import ALL_STEPS, set_strides

_DEFAULTS: dict[str, Any] = {"depth": 8, "w0": 16, "wa": 16.0, "wm": 2.0, "group_size": 8, "stem_width": 16}
_STAGES = 4


class SmallRegNet(RegNet):  # type: ignore[misc]
    """RegNet (Radosavovic et al. 2020, arXiv 2003.13678). Parameters have the names of timm's RegNet.

    Args:
        strides: Stride, 1 or 2, of the stem and of the four stages.
        arguments: Other arguments of timm's RegNet, among them those of `RegNetCfg`: `depth`, `w0`, `wa`, `wm`,
            `group_size`, `se_ratio` and `stem_width`.

    Raises:
        ValueError: The widths that follow from `depth`, `w0`, `wa` and `wm` do not form four stages.
    """

    def __init__(
        self,
        *,
        depth: int,
        w0: int,
        wa: float,
        wm: float,
        group_size: int,
        strides: Sequence[int] = ALL_STEPS,
        **arguments: Any,
    ) -> None:
        _, stages, _ = generate_regnet(wa, w0, wm, depth, group_size)
        if stages != _STAGES:
            raise ValueError(f"depth {depth}, w0 {w0}, wa {wa} and wm {wm} form {stages} stages, not {_STAGES}")
        super().__init__(RegNetCfg(), depth=depth, w0=w0, wa=wa, wm=wm, group_size=group_size, **arguments)
        set_strides(self, self.children(), strides)


default_cfgs = untrained_configs("stem.conv", "head.fc", ("small_regnet",))


@register_model  # type: ignore[untyped-decorator]
def small_regnet(pretrained: bool = False, **kwargs: Any) -> SmallRegNet:
    """Build a `SmallRegNet` from its arguments and those of every timm entrypoint."""
    model: SmallRegNet = build_model_with_cfg(SmallRegNet, "small_regnet", pretrained, **{**_DEFAULTS, **kwargs})
    return model
