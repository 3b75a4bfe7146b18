"""A Swin transformer of any number of stages, registered with timm as `small_swin`.

timm's own entrypoints use stochastic depth unless it is turned off, and their patches must divide the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.models import build_model_with_cfg, register_model
from timm.models.swin_transformer import SwinTransformer

from nas_distill.models.entrypoints.padding import pad_images, padded_size
from nas_distill.models.entrypoints.registration import untrained_configs

_DEFAULTS: dict[str, Any] = {
    "img_size": 32, "patch_size": 2, "window_size": 4, "embed_dim": 32, "depths": (2, 2, 2), "num_heads": (1, 2, 4),
}  # fmt: skip


class SmallSwin(SwinTransformer):  # type: ignore[misc]
    """Swin transformer (Liu et al. 2021, arXiv 2103.14030) that pads images to a multiple of the patch size.

    Args:
        img_size: Height and width of the images, pixels.
        patch_size: Height and width of a patch, pixels.
        depths: Number of blocks of each stage.
        num_heads: Number of attention heads of each stage; as many numbers as `depths`.
        drop_path_rate: Stochastic depth of the last block.
        arguments: Other arguments of timm's SwinTransformer, among them `embed_dim`, the channels of the first stage
            (each later stage has twice as many), and `window_size`.
    """

    def __init__(
        self,
        *,
        img_size: int | Sequence[int],
        patch_size: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        drop_path_rate: float = 0.0,
        **arguments: Any,
    ) -> None:
        super().__init__(
            img_size=padded_size(img_size, patch_size),
            patch_size=patch_size,
            depths=tuple(depths),
            num_heads=tuple(num_heads),
            drop_path_rate=drop_path_rate,
            **arguments,
        )
        pad_images(self.patch_embed)


default_cfgs = untrained_configs("patch_embed.proj", "head.fc", ("small_swin",), fixed_input_size=True)


@register_model  # type: ignore[untyped-decorator]
def small_swin(pretrained: bool = False, **kwargs: Any) -> SmallSwin:
    """Build a `SmallSwin` from its arguments and those of every timm entrypoint."""
    arguments = {**_DEFAULTS, **kwargs}
    model: SmallSwin = build_model_with_cfg(
        SmallSwin,
        "small_swin",
        pretrained,
        feature_cfg={"out_indices": tuple(range(len(arguments["depths"]))), "flatten_sequential": True},
        **arguments,
    )
    return model
