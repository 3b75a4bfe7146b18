"""Padding of images to a multiple of the patch size."""

from __future__ import annotations

from collections.abc import Sequence

from timm.layers import PatchEmbed


def padded_size(image_size: int | Sequence[int], patch_size: int) -> tuple[int, int]:
    """Return the height and width after padding, the next multiples of the patch size in pixels.

    Args:
        image_size: Height and width, or one number for both, pixels.
        patch_size: Height and width of a patch, pixels.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    return -(-height // patch_size) * patch_size, -(-width // patch_size) * patch_size


def pad_images(embedding: PatchEmbed) -> None:
    """Let a patch embedding of the padded size accept smaller images, padded with zeros at the right and bottom."""
    embedding.strict_img_size = False
    embedding.dynamic_img_pad = True
