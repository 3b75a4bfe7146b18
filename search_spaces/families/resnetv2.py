"""Pre-activation residual networks for images of about 24 to 384 pixels."""

from __future__ import annotations

from nas_distill.records import SpaceContext, SpaceInfo, SpaceTrial, StudentSpec
from search_spaces.families.strides import SMALL_IMAGE, round_width, stage_widths, suggest_strides

INFO = SpaceInfo(
    families=("resnetv2-basic", "resnetv2-bottleneck"),
    min_image_size=24,
    max_image_size=384,
    min_params=8_500,
    max_params=14_000_000,
)

_EXPANSION = 4


def space(trial: SpaceTrial, context: SpaceContext) -> StudentSpec:
    """Pre-activation ResNets (He et al. 2016, arXiv 1603.05027) for images of 24 to 384 pixels.

    Searches the width of the first stage, its growth per stage, the depth of each stage, the block type and the stem:
    one 7x7 convolution, or three 3x3 convolutions (always three for images of up to 48 pixels). Students can start from
    slices of the weights of timm's `resnetv2_18` or `resnetv2_50`, or of their variants with a deep stem.
    """
    block = trial.suggest_categorical("resnetv2_block", ["basic", "bottleneck"])
    width = trial.suggest_int("resnetv2_width", 8, 64, log=True)
    growth = trial.suggest_float("resnetv2_growth", 1.25, 2.0, step=0.25)
    deep = context.image_size <= SMALL_IMAGE or trial.suggest_categorical("resnetv2_stem", ["plain", "deep"]) == "deep"
    # As in the space resnet, half of the width makes both block types comparable.
    widths = stage_widths(width, growth) if block == "basic" else stage_widths(width / 2, growth)
    return StudentSpec(
        architecture="small_resnetv2",
        arguments={
            "layers": tuple(
                trial.suggest_int(f"resnetv2_depth_{stage}", 1, most) for stage, most in enumerate((2, 2, 4, 2))
            ),
            "channels": widths if block == "basic" else tuple(_EXPANSION * inner for inner in widths),
            "block": block,
            "stem_chs": round_width(width),
            **({"stem_type": "deep", "avg_down": True} if deep else {}),
            "strides": suggest_strides(trial, "resnetv2", context.image_size),
        },
        family=f"resnetv2-{block}",
    )
