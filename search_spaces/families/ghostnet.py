"""GhostNets, versions 1 and 2, for images of about 24 to 384 pixels."""

from __future__ import annotations

from nas_distill.records import SpaceContext, SpaceInfo, SpaceTrial, StudentSpec
from search_spaces.families.strides import suggest_strides

INFO = SpaceInfo(
    families=("ghostnet", "ghostnetv2"),
    min_image_size=24,
    max_image_size=384,
    min_params=33_000,
    max_params=8_500_000,
)


def space(trial: SpaceTrial, context: SpaceContext) -> StudentSpec:
    """GhostNet and GhostNetV2 (Han et al. 2020, Tang et al. 2022) for images of 24 to 384 pixels.

    Searches the version and factors on width and depth. Half of each layer's channels come from cheap depthwise
    convolutions; version 2 adds attention. GhostNets have no stochastic depth: they ignore `recipe.drop_path`.
    """
    version = trial.suggest_int("ghostnet_version", 1, 2)
    return StudentSpec(
        architecture="small_ghostnet",
        arguments={
            "version": version,
            "width": round(trial.suggest_float("ghostnet_width", 0.1, 1.3, log=True), 3),
            "depth": trial.suggest_float("ghostnet_depth", 0.5, 1.0, step=0.25),
            "strides": suggest_strides(trial, "ghostnet", context.image_size),
        },
        family="ghostnet" if version == 1 else "ghostnetv2",
    )
