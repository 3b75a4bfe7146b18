"""RegNets for images of about 24 to 384 pixels."""

from __future__ import annotations

from nas_distill.records import SpaceContext, SpaceInfo, SpaceTrial, StudentSpec
from search_spaces.families.strides import round_width, suggest_strides

INFO = SpaceInfo(
    families=("regnetx", "regnety"),
    min_image_size=24,
    max_image_size=384,
    min_params=30_000,
    max_params=17_000_000,
)

_STAGES = 4
_SE_RATIO = 0.25
_LARGEST_STEM = 32


def space(trial: SpaceTrial, context: SpaceContext) -> StudentSpec:
    """RegNets (Radosavovic et al. 2020, arXiv 2003.13678) for images of 24 to 384 pixels.

    Searches the paper's design space: the first width, the growth per stage, the total depth, the width of the groups
    of the 3x3 convolutions, and squeeze-and-excitation (RegNetY has it, RegNetX does not). The slope of the widths
    follows from growth and depth, so that there are always four stages.
    """
    kind = trial.suggest_categorical("regnet_kind", ["regnetx", "regnety"])
    width = round_width(trial.suggest_int("regnet_width", 8, 48, log=True))
    growth = trial.suggest_float("regnet_growth", 1.75, 2.5, step=0.25)
    depth = trial.suggest_int("regnet_depth", 8, 20)
    return StudentSpec(
        architecture="small_regnet",
        arguments={
            "depth": depth,
            "w0": width,
            # Equation 2 of the paper: block j has width w0 + wa j before rounding, here w0 growth^3 in the last block.
            "wa": round(width * (growth ** (_STAGES - 1) - 1) / (depth - 1), 3),
            "wm": growth,
            "group_size": trial.suggest_categorical("regnet_group", [8, 16, 32]),
            "se_ratio": _SE_RATIO if kind == "regnety" else 0.0,
            "stem_width": min(width, _LARGEST_STEM),
            "strides": suggest_strides(trial, "regnet", context.image_size),
        },
        family=kind,
    )
