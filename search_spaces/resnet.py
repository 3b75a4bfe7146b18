"""Residual networks for images of about 24 to 96 pixels."""

from __future__ import annotations

from nas_distill.records import SpaceContext, SpaceInfo, SpaceTrial, StudentSpec

INFO = SpaceInfo(
    families=("resnet-basic", "resnet-bottleneck"),
    min_image_size=24,
    max_image_size=96,
    min_params=2_000,
    max_params=20_000_000,
)


def space(trial: SpaceTrial, context: SpaceContext) -> StudentSpec:
    """ResNets for images of 24 to 96 pixels, about 3,000 to 9 million parameters.

    Searches the number of stages, the width of the first stage, its growth per stage, the depth of each stage and the
    block type. The stem keeps the resolution (3x3 convolution, stride 1, no pooling), because small images cannot
    afford to lose it.
    """
    del context
    stages = trial.suggest_int("stages", 3, 4)
    width = trial.suggest_int("width", 8, 64, log=True)
    growth = trial.suggest_float("growth", 1.25, 2.0, step=0.25)
    block = trial.suggest_categorical("block", ["basic", "bottleneck"])
    # A bottleneck multiplies its output width by four. A quarter of the width makes both block types comparable.
    base = width if block == "basic" else max(width // 4, 4)
    return StudentSpec(
        architecture="small_resnet",
        arguments={
            "widths": tuple(round(base * growth**stage) for stage in range(stages)),
            "depths": tuple(trial.suggest_int(f"depth_{stage}", 1, 3) for stage in range(stages)),
            "block": block,
        },
        family=f"resnet-{block}",
    )
