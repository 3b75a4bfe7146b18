"""RepVGG for images of about 24 to 384 pixels."""

from __future__ import annotations

from nas_distill.records import SpaceContext, SpaceInfo, SpaceTrial, StudentSpec
from search_spaces.families.strides import stage_widths, suggest_strides

INFO = SpaceInfo(
    families=("repvgg",),
    min_image_size=24,
    max_image_size=384,
    min_params=8_000,
    max_params=16_000_000,
)


def space(trial: SpaceTrial, context: SpaceContext) -> StudentSpec:
    """RepVGG (Ding et al. 2021, arXiv 2101.03697) for images of 24 to 384 pixels: plain 3x3 convolutions when deployed.

    Searches the width of the first stage, its growth per stage, and the depth of the first three stages; the last has
    one block. Blocks train with parallel branches, which are merged afterwards without a change of the outputs. The
    costs in tables and limits are those of the merged network.
    """
    width = trial.suggest_int("repvgg_width", 8, 64, log=True)
    growth = trial.suggest_float("repvgg_growth", 1.5, 2.5, step=0.25)
    depths = (trial.suggest_int(f"repvgg_depth_{stage}", 1, most) for stage, most in enumerate((2, 4, 8)))
    return StudentSpec(
        architecture="small_repvgg",
        arguments={
            "widths": stage_widths(width, growth),
            "depths": (*depths, 1),
            "strides": suggest_strides(trial, "repvgg", context.image_size),
        },
        family="repvgg",
    )
