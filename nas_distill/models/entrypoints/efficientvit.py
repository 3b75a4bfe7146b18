"""EfficientViT with adjustable strides, registered with timm as `small_efficientvit`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.models import build_model_with_cfg, register_model
from timm.models.efficientvit_mit import EfficientVit

from nas_distill.models.entrypoints.registration import untrained_configs
from nas_distill.models.entrypoints.strides import ALL_STEPS, set_strides

_DEFAULTS: dict[str, Any] = {
    "widths": (8, 16, 32, 64, 128), "depths": (1, 1, 1, 1, 1), "head_dim": 16, "head_widths": (256, 256),
}  # fmt: skip


class SmallEfficientVit(EfficientVit):  # type: ignore[misc]
    """EfficientViT (Cai et al. 2023, arXiv 2205.14756), with the parameter names of timm's `efficientvit_b0`.

    The network has no stochastic depth.

    Args:
        widths: Channels of the stem and of the four stages; those of the last two are multiples of `head_dim`.
        depths: Number of blocks of the stem and of each stage.
        head_widths: Channels of the two layers before the classification layer.
        strides: Stride, 1 or 2, of the stem and of the four stages.
        arguments: Other arguments of timm's EfficientVit, among them `head_dim` and `expand_ratio`.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int],
        depths: Sequence[int],
        head_widths: Sequence[int],
        strides: Sequence[int] = ALL_STEPS,
        **arguments: Any,
    ) -> None:
        super().__init__(widths=tuple(widths), depths=tuple(depths), head_widths=tuple(head_widths), **arguments)
        set_strides(self, (self.stem, *self.stages), strides)


default_cfgs = untrained_configs("stem.in_conv.conv", "head.classifier.4", ("small_efficientvit",))


@register_model  # type: ignore[untyped-decorator]
def small_efficientvit(pretrained: bool = False, **kwargs: Any) -> SmallEfficientVit:
    """Build a `SmallEfficientVit` from its arguments and those of every timm entrypoint."""
    model: SmallEfficientVit = build_model_with_cfg(
        SmallEfficientVit,
        "small_efficientvit",
        pretrained,
        feature_cfg={"flatten_sequential": True, "out_indices": (0, 1, 2, 3)},
        **{**_DEFAULTS, **kwargs},
    )
    return model
