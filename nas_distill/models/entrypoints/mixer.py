"""An MLP-Mixer of any shape, registered with timm as `small_mixer`.

timm's own entrypoints fix width and depth, and its patches must divide the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.models import build_model_with_cfg, register_model
from timm.models.mlp_mixer import MlpMixer

from nas_distill.models.entrypoints.padding import pad_images, padded_size
from nas_distill.models.entrypoints.registration import untrained_configs

_DEFAULTS: dict[str, Any] = {"img_size": 32, "patch_size": 4, "num_blocks": 4, "embed_dim": 64}


class SmallMixer(MlpMixer):  # type: ignore[misc]
    """MLP-Mixer (Tolstikhin et al. 2021, arXiv 2105.01601) that pads images to a multiple of the patch size.

    Args:
        img_size: Height and width of the images, pixels.
        patch_size: Height and width of a patch, pixels.
        arguments: Other arguments of timm's MlpMixer: `num_blocks`, `embed_dim`, and `mlp_ratio`, a pair of the widths
            of the MLPs over tokens and over channels, as factors of `embed_dim`.
    """

    def __init__(self, *, img_size: int | Sequence[int], patch_size: int, **arguments: Any) -> None:
        super().__init__(img_size=padded_size(img_size, patch_size), patch_size=patch_size, **arguments)
        pad_images(self.stem)


default_cfgs = untrained_configs("stem.proj", "head", ("small_mixer",), fixed_input_size=True)


@register_model  # type: ignore[untyped-decorator]
def small_mixer(pretrained: bool = False, **kwargs: Any) -> SmallMixer:
    """Build a `SmallMixer` from its arguments and those of every timm entrypoint."""
    arguments = {**_DEFAULTS, **kwargs}
    last = arguments["num_blocks"] - 1
    model: SmallMixer = build_model_with_cfg(
        SmallMixer,
        "small_mixer",
        pretrained,
        feature_cfg={"out_indices": (last,), "feature_cls": "getter"},
        **arguments,
    )
    return model
