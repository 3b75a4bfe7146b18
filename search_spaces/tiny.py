"""Tiny convolutional networks and vision transformers for images of 8 to 32 pixels."""

from __future__ import annotations

from nas_distill.records import SpaceContext, SpaceInfo, SpaceTrial, StudentSpec

INFO = SpaceInfo(families=("resnet", "vit"), min_image_size=8, max_image_size=32, min_params=700, max_params=500_000)


def space(trial: SpaceTrial, context: SpaceContext) -> StudentSpec:
    """ResNets and vision transformers for grey images of 8 to 32 pixels, 700 to 500,000 parameters.

    Two families: `small_resnet` with two or three stages, and vision transformers with patches of 2 or 4 pixels. The
    image size must be a multiple of the patch size.
    """
    del context
    if trial.suggest_categorical("family", ["resnet", "vit"]) == "resnet":
        return _resnet(trial)
    return _vit(trial)


def _resnet(trial: SpaceTrial) -> StudentSpec:
    stages = trial.suggest_int("resnet_stages", 2, 3)
    width = trial.suggest_int("resnet_width", 4, 26, log=True)
    growth = trial.suggest_float("resnet_growth", 1.0, 2.0, step=0.25)
    depth = trial.suggest_int("resnet_depth", 1, 2)
    return StudentSpec(
        architecture="small_resnet",
        arguments={
            "widths": tuple(round(width * growth**stage) for stage in range(stages)),
            "depths": (depth,) * stages,
        },
        family="resnet",
    )


def _vit(trial: SpaceTrial) -> StudentSpec:
    heads = trial.suggest_int("vit_heads", 1, 4)
    return StudentSpec(
        architecture="vit_tiny_patch16_224",
        arguments={
            "patch_size": trial.suggest_categorical("vit_patch", [2, 4]),
            "embed_dim": heads * trial.suggest_categorical("vit_head_width", [8, 16]),
            "depth": trial.suggest_int("vit_depth", 1, 4),
            "num_heads": heads,
            "mlp_ratio": trial.suggest_categorical("vit_mlp_ratio", [1.0, 2.0, 4.0]),
        },
        family="vit",
    )
