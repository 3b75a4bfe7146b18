"""Decode one image file to a uint8 array of the run's common size and channels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nas_distill.data.headers import SIXTEEN_BIT_MODES, as_displayed, check_size, unreadable
from nas_distill.data.sources.base import ImageSource
from nas_distill.errors import DataError
from nas_distill.records.resizing import Resizing

_MODES_WITHOUT_RANGE = frozenset({"I", "F"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFormat:
    """Size and channels of all decoded images of a run.

    Attributes:
        image_size: Height and width, pixels.
        channels: 1 (grey) or 3 (RGB).
        resizing: How images of other sizes are resized; None if all have this size.
    """

    image_size: int
    channels: Literal[1, 3]
    resizing: Resizing | None = None


def decode(source: ImageSource, index: int, pixel_format: PixelFormat) -> NDArray[np.uint8]:
    """Return image number `index` in the given format, uint8 [C, H, W].

    Raises:
        DataError: The image is damaged, has 32-bit pixels, or is of another size and `pixel_format.resizing` is None.
    """
    return _decode(lambda: source.open(index), source.name(index), pixel_format)


def decode_file(path: Path, pixel_format: PixelFormat) -> NDArray[np.uint8]:
    """Return the image in a file in the given format, uint8 [C, H, W].

    Raises:
        DataError: The image is missing or damaged, has 32-bit pixels, or is of another size and
            `pixel_format.resizing` is None.
    """
    return _decode(lambda: Image.open(path), str(path), pixel_format)


def find_fault(source: ImageSource, index: int) -> DataError | None:
    """Decode image number `index` at its own size, and return the error if it cannot be used."""
    name = source.name(index)
    try:
        with source.open(index) as image:
            check_size(image, name)
            _eight_bit(as_displayed(image), name)
    except DataError as error:
        return error
    except Exception as error:  # noqa: BLE001 - Pillow raises any exception for a damaged file
        return unreadable(name, error)
    return None


def _decode(open_image: Callable[[], Image.Image], name: str, pixel_format: PixelFormat) -> NDArray[np.uint8]:
    try:
        with open_image() as image:
            check_size(image, name)
            return to_array(image, pixel_format, name=name)
    except DataError:
        raise
    except Exception as error:
        raise unreadable(name, error) from error


def to_array(image: Image.Image, pixel_format: PixelFormat, *, name: str = "image") -> NDArray[np.uint8]:
    """Return an image as students see it, uint8 [C, H, W].

    The image is rotated as its EXIF data say. Of several frames, the first is used. 16-bit pixels keep their high byte.
    Transparency is dropped, as by Pillow's `convert("RGB")` and thus by torchvision and timm, with which teachers are
    trained. An image that already has the size is not resized.

    Args:
        image: Pillow image.
        pixel_format: Size and channels of the result.
        name: Name of the image in errors.

    Raises:
        DataError: The image has 32-bit pixels, or is of another size and `pixel_format.resizing` is None.
        Exception: Any exception of Pillow for a damaged file.
    """
    image = _eight_bit(as_displayed(image), name).convert("L" if pixel_format.channels == 1 else "RGB")
    size = pixel_format.image_size
    if image.size != (size, size):
        if pixel_format.resizing is None:
            raise DataError(
                f"the image is {image.width}x{image.height} pixels, but the others are {size}x{size}; "
                "pass --image-size to resize all images",
                code="data.size_mismatch",
                field=name,
            )
        image = _resize(image, size, pixel_format.resizing)
    array = np.asarray(image)
    return array[None] if pixel_format.channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))


def _eight_bit(image: Image.Image, name: str) -> Image.Image:
    """Return the image with 8 bits per channel."""
    if image.mode in SIXTEEN_BIT_MODES:
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


def _resize(image: Image.Image, size: int, resizing: Resizing) -> Image.Image:
    """Return the centre crop of `size` pixels after resizing the shorter side to `size` / crop ratio.

    All numbers are rounded as by torchvision's `Resize` and `CenterCrop`, so that pixels equal those of timm.
    """
    shorter, target = min(image.size), math.floor(size / resizing.crop_ratio)
    width, height = (int(side * target / shorter) for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    resample = Image.Resampling[resizing.interpolation.upper()]
    return image.resize((width, height), resample).crop((left, top, left + size, top + size))
