"""ConvNeXt networks, versions 1 and 2."""

from __future__ import annotations

from nas_distill.records import SpaceContext, SpaceInfo, SpaceTrial, StudentSpec

INFO = SpaceInfo(
    families=("convnext", "convnextv2"), min_image_size=8, max_image_size=384, min_params=9_000, max_params=9_500_000
)

_STAGES = 4
_SMALL_STEM = 2
"""Patch size of the project's own stem: with patches of 2 pixels, timm's ConvNeXt halves the resolution once more."""

_LAYER_SCALE = 0.1
"""Initial factor of each block of version 1. timm's 1e-6 is meant for long training: in a short one, the blocks would
contribute almost nothing. 0.1 is the value of Touvron et al. 2021 (arXiv 2103.17239) for networks this deep."""


def space(trial: SpaceTrial, context: SpaceContext) -> StudentSpec:
    """ConvNeXt networks of both versions, with patches of 1 to 8 pixels.

    Searches the version, the patch size, the width of the first stage, its growth per stage and the depth of each of
    the four stages. The patch size follows the image size: the first stage sees 16 to 96 positions per side, and each
    later stage half as many. Any image size from 8 pixels works, because surplus rows and columns are dropped.

    References: Liu et al. 2022 (arXiv 2201.03545) and Woo et al. 2023 (arXiv 2301.00808).

    Args:
        trial: Trial that suggests the parameters.
        context: Image size of the search.

    Returns:
        Candidate of family `convnext` or `convnextv2`.
    """
    version = trial.suggest_categorical("convnext_version", ["convnext", "convnextv2"])
    patch = trial.suggest_categorical("convnext_patch", _patches(context.image_size))
    width = trial.suggest_int("convnext_width", 8, 64, log=True)
    growth = trial.suggest_float("convnext_growth", 1.25, 2.0, step=0.25)
    arguments: dict[str, object] = {
        "dims": tuple(round(width * growth**stage) for stage in range(_STAGES)),
        "depths": tuple(trial.suggest_int(f"convnext_depth_{stage}", 1, 3) for stage in range(_STAGES)),
    }
    if version == "convnext":
        arguments["ls_init_value"] = _LAYER_SCALE
    if patch == _SMALL_STEM:
        return StudentSpec(architecture=f"small_{version}", arguments=arguments, family=version)
    return StudentSpec(architecture=f"{version}_atto", arguments={**arguments, "patch_size": patch}, family=version)


def _patches(image_size: int) -> list[int]:
    patches = [patch for patch in (1, 2, 4, 8) if 16 <= image_size // patch <= (64 if patch < 4 else 96)]
    return patches or [1]
