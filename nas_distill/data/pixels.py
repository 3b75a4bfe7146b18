"""From one image file to a uint8 array of the shape that all images share."""

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
    """The one shape of all images.

    Attributes:
        image_size: Height and width, pixels.
        channels: 1 (grey) or 3 (RGB).
        resize: Whether images of other sizes are brought to it: bicubic, shorter side, then centre crop.
    """

    image_size: int
    channels: Literal[1, 3]
    resize: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader:
    """What an image says of itself before its pixels are read.

    Attributes:
        width: Pixels.
        height: Pixels.
        grey: Whether it has no colour.
    """

    width: int
    height: int
    grey: bool


def read_image_header(source: ImageSource, index: int) -> ImageHeader:
    """Returns the header of image number `index`.

    Raises:
        DataError: It is no readable image.
    """
    try:
        with source.open(index) as image:
            return ImageHeader(width=image.width, height=image.height, grey=image.mode in _GREY_MODES)
    except Exception as error:
        raise _unreadable(source.name(index), error) from error


def decode(source: ImageSource, index: int, pixels: PixelFormat) -> NDArray[np.uint8]:
    """Returns image number `index` in the shape `pixels`.

    Returns:
        uint8 [C, H, W].

    Raises:
        DataError: The image is damaged, or of another size and `pixels.resize` is off.
    """
    name = source.name(index)
    try:
        with source.open(index) as opened:
            image = _eight_bit(opened, name).convert("L" if pixels.channels == 1 else "RGB")
    except DataError:
        raise
    except Exception as error:
        raise _unreadable(name, error) from error
    size = pixels.image_size
    if image.size != (size, size):
        if not pixels.resize:
            raise DataError(
                f"{name}: is {image.width}x{image.height} and the others are {size}x{size}; "
                "pass --image-size to resize all"
            )
        image = _resized(image, size)
    array = np.asarray(image)
    return array[None] if pixels.channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))


def _unreadable(name: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{name}: is no readable image ({reason}); repair or remove it")


def _eight_bit(image: Image.Image, name: str) -> Image.Image:
    """Returns the image with 8 bits per channel."""
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips everything above 255 to white.
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode in _MODES_WITHOUT_RANGE:
        raise DataError(
            f"{name}: has 32-bit pixels (mode {image.mode}) without a fixed range; save it with 8 or 16 bits"
        )
    # Pillow warns about, and half applies, a palette's transparency when it goes to RGB in one step.
    return image.convert("RGBA") if image.mode == "P" and "transparency" in image.info else image


def _resized(image: Image.Image, size: int) -> Image.Image:
    shorter = min(image.size)
    width, height = (max(size, round(side * size / shorter)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    return image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
