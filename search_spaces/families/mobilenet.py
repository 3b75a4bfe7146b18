"""MobileNets, versions 2 to 4, for images of about 24 to 384 pixels."""

from __future__ import annotations

from nas_distill.records import SpaceContext, SpaceInfo, SpaceTrial, StudentSpec
from search_spaces.families.strides import suggest_strides

INFO = SpaceInfo(
    families=("mobilenetv2", "mobilenetv3", "mobilenetv4"),
    min_image_size=24,
    max_image_size=384,
    min_params=32_000,
    max_params=17_000_000,
)

_VERSIONS = ("v2", "v3-small", "v3-large", "v4-small", "v4-medium")


def space(trial: SpaceTrial, context: SpaceContext) -> StudentSpec:
    """MobileNetV2, V3 and V4 (Sandler et al. 2018, Howard et al. 2019, Qin et al. 2024) for images of 24 to 384 pixels.

    Searches the version and factors on its width and depth. V3 has the sizes small and large; V4, without attention,
    small and medium. The factor on the width applies to the head, too, because a head of 1,280 channels would outweigh
    the rest of a narrow network.
    """
    version, _, size = str(trial.suggest_categorical("mobilenet_version", _VERSIONS)).partition("-")
    return StudentSpec(
        architecture=f"small_mobilenet{version}",
        arguments={
            **({"size": size} if size else {}),
            "width": round(trial.suggest_float("mobilenet_width", 0.1, 1.25, log=True), 3),
            "depth": trial.suggest_float("mobilenet_depth", 0.5, 1.25, step=0.25),
            "strides": suggest_strides(trial, "mobilenet", context.image_size),
        },
        family=f"mobilenet{version}",
    )
