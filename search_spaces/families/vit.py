"""Vision transformers."""

from __future__ import annotations

from nas_distill.records import SpaceContext, SpaceInfo, SpaceTrial, StudentSpec
from search_spaces.families.patches import grid_side, patch_sizes

INFO = SpaceInfo(families=("vit",), min_image_size=8, max_image_size=384, min_params=700, max_params=11_000_000)


def space(trial: SpaceTrial, context: SpaceContext) -> StudentSpec:
    """Vision transformers with 16 to 256 patches per image.

    Searches the patch size, the number of heads and their width, the depth and the width of the MLPs. The patch size
    divides the image size; images whose size has no suitable divisor (97 pixels) are padded by a few pixels.

    Reference: Dosovitskiy et al. 2021 (arXiv 2010.11929).

    Args:
        trial: Trial that suggests the parameters.
        context: Image size of the search.

    Returns:
        Candidate of family `vit`.
    """
    size = context.image_size
    patch = trial.suggest_categorical("vit_patch", list(patch_sizes(size, fewest=4, most=16)))
    heads = trial.suggest_int("vit_heads", 1, 4)
    arguments = {
        "patch_size": patch,
        "embed_dim": heads * trial.suggest_categorical("vit_head_width", [8, 16, 32, 64]),
        "depth": trial.suggest_int("vit_depth", 1, 12, log=True),
        "num_heads": heads,
        "mlp_ratio": trial.suggest_categorical("vit_mlp_ratio", [1.0, 2.0, 4.0]),
    }
    if size % patch:
        # The positions cover the padded image. timm pads only networks of dynamic image size.
        padded = patch * grid_side(size, patch)
        arguments |= {"img_size": padded, "dynamic_img_size": True, "dynamic_img_pad": True}
    return StudentSpec(architecture="vit_tiny_patch16_224", arguments=arguments, family="vit")
