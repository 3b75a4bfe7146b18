"""timm's default configurations for architectures without published weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timm.models import generate_default_cfgs

_COMMON: dict[str, Any] = {
    "url": "",
    "num_classes": 10,
    "input_size": (3, 32, 32),
    "pool_size": None,
    "crop_pct": 1.0,
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.25, 0.25, 0.25),
}


def untrained_configs(
    first_conv: str | tuple[str, ...], classifier: str, names: tuple[str, ...], *, fixed_input_size: bool = False
) -> Mapping[str, Any]:
    """Return the default configurations of architectures, as timm's registry expects them.

    Args:
        first_conv: Name of the layer that receives the image; several if parallel layers do.
        classifier: Name of the classification layer.
        names: Names of the architectures.
        fixed_input_size: Whether the networks are built for one image size, the argument `img_size`.
    """
    config = {**_COMMON, "first_conv": first_conv, "classifier": classifier, "fixed_input_size": fixed_input_size}
    configs: Mapping[str, Any] = generate_default_cfgs({f"{name}.untrained": config for name in names})
    return configs
