"""Residual networks for images of about 24 to 96 pixels: from about 3,000 to 9 million parameters."""

from __future__ import annotations

from nas_distill.records import SpaceTrial, StudentSpec


def space(trial: SpaceTrial) -> StudentSpec:
    """Small-image ResNets: width, growth, stages, depth per stage and block, about 3k to 9M parameters.

    The stem keeps the resolution (3x3, stride 1, no pooling), as images of 24 to 96 pixels need it.
    """
    stages = trial.suggest_int("stages", 3, 4)
    width = trial.suggest_int("width", 8, 64, log=True)
    growth = trial.suggest_float("growth", 1.25, 2.0, step=0.25)
    block = trial.suggest_categorical("block", ["basic", "bottleneck"])
    # A bottleneck widens its output fourfold; a quarter of the width keeps the two blocks comparable.
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
