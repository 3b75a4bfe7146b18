"""Swin transformers."""

from __future__ import annotations

from nas_distill.records import SpaceContext, SpaceInfo, SpaceTrial, StudentSpec
from search_spaces.families.patches import grid_side, patch_sizes

INFO = SpaceInfo(families=("swin",), min_image_size=8, max_image_size=384, min_params=3_000, max_params=14_000_000)

_FEWEST_PATCHES, _MOST_PATCHES = 8, 32
_SMALLEST_SIDE = 4
_WINDOWS = range(4, 9)
_MOST_STAGES = 4
_STANDARD_PATCH = 4


def space(trial: SpaceTrial, context: SpaceContext) -> StudentSpec:
    """Swin transformers with two to four stages and 8 to 56 patches per side.

    Searches the patch size, the number of heads and their width, the depth of each stage and the width of the MLPs.
    Each stage has half the resolution and twice the channels of the one before; the last one has at least 4 patches per
    side. The patch size divides the image size, or images are padded by a few pixels (97 pixels). The window size is
    the one of 4 to 8 that needs the least padding.

    Reference: Liu et al. 2021 (arXiv 2103.14030).

    Args:
        trial: Trial that suggests the parameters.
        context: Image size of the search.

    Returns:
        Candidate of family `swin`.
    """
    patch = trial.suggest_categorical("swin_patch", _patches(context.image_size))
    sides = _stage_sides(grid_side(context.image_size, patch))
    heads = trial.suggest_int("swin_heads", 1, 2)
    return StudentSpec(
        architecture="small_swin",
        arguments={
            "patch_size": patch,
            "window_size": _window(sides),
            "embed_dim": heads * trial.suggest_categorical("swin_head_width", [8, 16, 32]),
            "depths": tuple(trial.suggest_int(f"swin_depth_{stage}", 1, 3) for stage in range(len(sides))),
            "num_heads": tuple(heads * 2**stage for stage in range(len(sides))),
            "mlp_ratio": trial.suggest_categorical("swin_mlp_ratio", [1.0, 2.0, 4.0]),
        },
        family="swin",
    )


def _patches(image_size: int) -> list[int]:
    patches = set(patch_sizes(image_size, fewest=_FEWEST_PATCHES, most=_MOST_PATCHES))
    # Swin's own geometry at 224 pixels: 56 patches per side.
    if image_size == 224:
        patches.add(_STANDARD_PATCH)
    return sorted(patches)


def _stage_sides(side: int) -> list[int]:
    """Return the number of positions per side of each stage."""
    sides = [side]
    while len(sides) < _MOST_STAGES and -(-sides[-1] // 2) >= _SMALLEST_SIDE:
        sides.append(-(-sides[-1] // 2))
    return sides


def _window(sides: list[int]) -> int:
    """Return the window size with the least padding over the stages, and of those the largest.

    The first stage has at least two windows per side, so that shifting them has an effect.
    """
    windows = [window for window in _WINDOWS if 2 * window <= sides[0]]

    def padded_share(window: int) -> float:
        # A stage smaller than the window has one window of its own size.
        return sum((-(-side // window) * window / side) ** 2 for side in sides if side > window)

    return min(windows, key=lambda window: (padded_share(window), -window))
