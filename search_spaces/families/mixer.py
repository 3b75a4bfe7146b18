"""MLP-Mixers."""

from __future__ import annotations

from nas_distill.records import SpaceContext, SpaceInfo, SpaceTrial, StudentSpec
from search_spaces.families.patches import patch_sizes

INFO = SpaceInfo(families=("mixer",), min_image_size=8, max_image_size=384, min_params=1_000, max_params=9_000_000)


def space(trial: SpaceTrial, context: SpaceContext) -> StudentSpec:
    """MLP-Mixers with 16 to 256 patches per image.

    Searches the patch size, the width, the depth and the widths of the MLPs over patches and over channels. The patch
    size divides the image size; images whose size has no suitable divisor (97 pixels) are padded by a few pixels.

    Reference: Tolstikhin et al. 2021 (arXiv 2105.01601).

    Args:
        trial: Trial that suggests the parameters.
        context: Image size of the search.

    Returns:
        Candidate of family `mixer`.
    """
    ratios = (
        trial.suggest_categorical("mixer_patches_ratio", [0.25, 0.5, 1.0]),
        trial.suggest_categorical("mixer_channels_ratio", [1.0, 2.0, 4.0]),
    )
    return StudentSpec(
        architecture="small_mixer",
        arguments={
            "patch_size": trial.suggest_categorical(
                "mixer_patch", list(patch_sizes(context.image_size, fewest=4, most=16))
            ),
            "embed_dim": trial.suggest_int("mixer_width", 16, 256, log=True),
            "num_blocks": trial.suggest_int("mixer_depth", 1, 12, log=True),
            "mlp_ratio": ratios,
        },
        family="mixer",
    )
