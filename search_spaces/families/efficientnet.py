"""EfficientNets, versions 1 and 2, for images of about 24 to 384 pixels."""

from __future__ import annotations

from nas_distill.records import SpaceContext, SpaceInfo, SpaceTrial, StudentSpec
from search_spaces.families.strides import suggest_strides

INFO = SpaceInfo(
    families=("efficientnet", "efficientnetv2"),
    min_image_size=24,
    max_image_size=384,
    min_params=33_000,
    max_params=12_000_000,
)


def space(trial: SpaceTrial, context: SpaceContext) -> StudentSpec:
    """EfficientNet and EfficientNetV2 (Tan and Le 2019 and 2021) for images of 24 to 384 pixels.

    Searches the version and factors on width and depth. Factors of 1 are EfficientNet-B0 and EfficientNetV2-B0.
    Version 2 has ordinary convolutions instead of depthwise ones in its first stages.
    """
    version = trial.suggest_int("efficientnet_version", 1, 2)
    return StudentSpec(
        architecture="small_efficientnet",
        arguments={
            "version": version,
            "width": round(trial.suggest_float("efficientnet_width", 0.1, 1.25, log=True), 3),
            "depth": trial.suggest_float("efficientnet_depth", 0.25, 1.25, step=0.25),
            "strides": suggest_strides(trial, "efficientnet", context.image_size),
        },
        family="efficientnet" if version == 1 else "efficientnetv2",
    )
