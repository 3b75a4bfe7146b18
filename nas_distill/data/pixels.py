"""Decode one image file to a uint8 array of the run's common size and channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nas_distill.data.sources.base import ImageSource
from nas_distill.errors import DataError

_GREY_MODES = frozenset({"1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N"})
_MODES_WITHOUT_RANGE = frozenset({"I", "F"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFormat:
    """Size and channels of all decoded images of a run.

    Attributes:
        image_size: Height and width, pixels.
        channels: 1 (grey) or 3 (RGB).
        resize: Whether images of other sizes are resized: bicubic on the shorter side, then centre crop.
    """

    image_size: int
    channels: Literal[1, 3]
    resize: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader:
    """Properties of an image that are known before its pixels are decoded.

    Attributes:
        width: Width, pixels.
        height: Height, pixels.
        is_grey: Whether the image has a single colour channel.
    """

    width: int
    height: int
    is_grey: bool


def read_image_header(source: ImageSource, index: int) -> ImageHeader:
    """Return the header of image number `index`.

    Raises:
        DataError: The image cannot be read.
    """
    try:
        with source.open(index) as image:
            return ImageHeader(width=image.width, height=image.height, is_grey=image.mode in _GREY_MODES)
    except Exception as error:
        raise _unreadable(source.name(index), error) from error


def decode(source: ImageSource, index: int, pixel_format: PixelFormat) -> NDArray[np.uint8]:
    """Return image number `index` in the given format, uint8 [C, H, W].

    Raises:
        DataError: The image is damaged, or of another size and `pixel_format.resize` is off.
    """
    name = source.name(index)
    try:
        with source.open(index) as opened:
            image = _eight_bit(opened, name).convert("L" if pixel_format.channels == 1 else "RGB")
    except DataError:
        raise
    except Exception as error:
        raise _unreadable(name, error) from error
    size = pixel_format.image_size
    if image.size != (size, size):
        if not pixel_format.resize:
            raise DataError(
                f"the image is {image.width}x{image.height} pixels, but the others are {size}x{size}; "
                "pass --image-size to resize all images",
                code="data.size_mismatch",
                field=name,
            )
        image = _resize(image, size)
    array = np.asarray(image)
    return array[None] if pixel_format.channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))


def _unreadable(name: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(
        f"the image cannot be read ({reason}); repair or remove it", code="data.unreadable_image", field=name
    )


def _eight_bit(image: Image.Image, name: str) -> Image.Image:
    """Return the image with 8 bits per channel."""
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips everything above 255 to white.
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode in _MODES_WITHOUT_RANGE:
        raise DataError(
            f"the image has 32-bit pixels (mode {image.mode}) without a fixed range; save it with 8 or 16 bits",
            code="data.unsupported_pixels",
            field=name,
        )
    # A direct conversion of a transparent palette to RGB warns and applies the transparency only in part.
    return image.convert("RGBA") if image.mode == "P" and "transparency" in image.info else image


def _resize(image: Image.Image, size: int) -> Image.Image:
    shorter = min(image.size)
    width, height = (max(size, round(side * size / shorter)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    return image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
