"""Patch sizes that suit an image size. This module is no space: several spaces use it."""

from __future__ import annotations

_LARGEST_PATCH = 32
"""Patches of more pixels make the embedding of the patches the largest part of a small network."""


def patch_sizes(image_size: int, *, fewest: int, most: int) -> tuple[int, ...]:
    """Return the patch sizes that divide the image into a grid of `fewest` to `most` patches per side.

    Args:
        image_size: Height and width of the images, pixels.
        fewest: Smallest number of patches per side.
        most: Largest number of patches per side.

    Returns:
        Patch sizes in pixels, ascending. If none divides the image, one or two whose grid covers the image with the
        fewest pixels of padding: one near `most` patches per side and one near half of it.
    """
    dividing = tuple(
        patch
        for patch in range(1, _LARGEST_PATCH + 1)
        if image_size % patch == 0 and fewest <= image_size // patch <= most
    )
    if dividing:
        return dividing
    return tuple(sorted({-(-image_size // sides) for sides in (most, max(fewest, most // 2))}))


def grid_side(image_size: int, patch_size: int) -> int:
    """Return the number of patches per side, after padding to a multiple of the patch size."""
    return -(-image_size // patch_size)
