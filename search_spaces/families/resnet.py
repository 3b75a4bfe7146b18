"""Residual networks for images of about 24 to 384 pixels."""

from __future__ import annotations

from nas_distill.records import SpaceContext, SpaceInfo, SpaceTrial, StudentSpec
from search_spaces.families.strides import LARGE_IMAGE, SMALL_IMAGE, stage_widths

INFO = SpaceInfo(
    families=("resnet-basic", "resnet-bottleneck"),
    min_image_size=24,
    max_image_size=384,
    min_params=2_500,
    max_params=18_000_000,
)

_ARCHITECTURES = {
    ("basic", "plain"): "resnet18",
    ("basic", "deep"): "resnet18d",
    ("bottleneck", "plain"): "resnet50",
    ("bottleneck", "deep"): "resnet50d",
}


def space(trial: SpaceTrial, context: SpaceContext) -> StudentSpec:
    """ResNets (He et al. 2015, arXiv 1512.03385) for images of 24 to 384 pixels.

    Searches the width of the first stage, its growth per stage, the depth of each stage and the block type. Images of
    up to 48 pixels get `small_resnet`, which keeps their resolution in the stem, with three or four stages. Larger
    images get timm's ResNets, with either the plain stem of 7x7 pixels and 64 channels or the deep stem of ResNet-D
    (three narrow 3x3 convolutions). Both can start from slices of a timm ResNet's weights. Below 128 pixels, the last
    stage keeps the resolution (`output_stride=16`).
    """
    block = trial.suggest_categorical("resnet_block", ["basic", "bottleneck"])
    width = trial.suggest_int("resnet_width", 8, 64, log=True)
    # The outputs of a bottleneck are four times as wide as its inner convolutions. Half of the width makes the
    # multiply-accumulates of both block types comparable.
    base = width if block == "basic" else width / 2
    growth = trial.suggest_float("resnet_growth", 1.25, 2.0, step=0.25)
    build = _small if context.image_size <= SMALL_IMAGE else _large
    return build(trial, context, block, base, growth)


def _small(trial: SpaceTrial, context: SpaceContext, block: str, base: float, growth: float) -> StudentSpec:
    del context
    stages = trial.suggest_int("resnet_stages", 3, 4)
    return StudentSpec(
        architecture="small_resnet",
        arguments={
            "widths": tuple(round(base * growth**stage) for stage in range(stages)),
            "depths": tuple(trial.suggest_int(f"resnet_depth_{stage}", 1, 3) for stage in range(stages)),
            "block": block,
        },
        family=f"resnet-{block}",
    )


def _large(trial: SpaceTrial, context: SpaceContext, block: str, base: float, growth: float) -> StudentSpec:
    stem = trial.suggest_categorical("resnet_stem", ["plain", "deep"])
    channels = stage_widths(base, growth)
    return StudentSpec(
        architecture=_ARCHITECTURES[block, stem],
        arguments={
            # Most ResNets are deepest in their third stage, and a student cut from one may not be deeper anywhere.
            "layers": tuple(
                trial.suggest_int(f"resnet_depth_{stage}", 1, most) for stage, most in enumerate((2, 2, 4, 2))
            ),
            "channels": channels,
            **({"stem_width": channels[0] // 2} if stem == "deep" else {}),
            **({"output_stride": 16} if context.image_size < LARGE_IMAGE else {}),
        },
        family=f"resnet-{block}",
    )
