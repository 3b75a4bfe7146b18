"""EfficientViTs for images of about 24 to 384 pixels."""

from __future__ import annotations

from nas_distill.records import SpaceContext, SpaceInfo, SpaceTrial, StudentSpec
from search_spaces.families.strides import round_width, suggest_strides

INFO = SpaceInfo(
    families=("efficientvit",),
    min_image_size=24,
    max_image_size=384,
    min_params=13_000,
    max_params=14_000_000,
)

_HEAD_WIDTH = 16
"""Channels of an attention head."""


def space(trial: SpaceTrial, context: SpaceContext) -> StudentSpec:
    """EfficientViTs (Cai et al. 2023, arXiv 2205.14756) for images of 24 to 384 pixels.

    Convolutions in the first two stages, linear attention in the last two. Searches the width of the stem, its growth
    per stage, the depth of each stage, the expansion of the blocks, and the width of the head. EfficientViTs have no
    stochastic depth: they ignore `recipe.drop_path`.
    """
    stem = round_width(trial.suggest_int("efficientvit_width", 4, 24, log=True), divisor=4)
    growth = trial.suggest_float("efficientvit_growth", 1.5, 2.0, step=0.25)
    convolutional = (round_width(stem * growth**stage) for stage in (1, 2))
    attentive = (round_width(stem * growth**stage, divisor=_HEAD_WIDTH) for stage in (3, 4))
    widths = (stem, *convolutional, *attentive)
    depths = (trial.suggest_int(f"efficientvit_depth_{stage}", 1, most) for stage, most in enumerate((2, 3, 3, 4)))
    head = widths[-1] * trial.suggest_categorical("efficientvit_head", [1, 2, 4])
    return StudentSpec(
        architecture="small_efficientvit",
        arguments={
            "widths": widths,
            "depths": (1, *depths),
            "head_dim": _HEAD_WIDTH,
            "expand_ratio": trial.suggest_int("efficientvit_expansion", 2, 4, step=2),
            "head_widths": (head, head),
            "strides": suggest_strides(trial, "efficientvit", context.image_size),
        },
        family="efficientvit",
    )
