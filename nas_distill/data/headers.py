"""Properties of images that are known before their pixels are decoded: size, colour, and what has to be converted."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from PIL import Image, PngImagePlugin, TiffImagePlugin

from nas_distill.data.manifest import ImageConversions
from nas_distill.data.sources.base import ImageSource
from nas_distill.errors import DataError

SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_GREY_MODES = frozenset({"1", "L", "LA", "La"}) | SIXTEEN_BIT_MODES
_ORIENTATION = 0x0112
# What Pillow raises for damaged EXIF data. The pixels are fine, so the image is used as it is stored.
_DAMAGED_EXIF = (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error)
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MAX_PIXELS = 89_478_485
"""Pillow's own limit: decoding more takes over 256 MiB, and a file of a few kilobytes can claim more."""

_SWAPS_SIDES = frozenset({5, 6, 7, 8})

Conversion = Literal["rotated", "palette", "alpha", "cmyk", "sixteen_bit", "several_frames"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader:
    """Properties of an image that are known before its pixels are decoded.

    Attributes:
        width: Width as displayed, pixels.
        height: Height as displayed, pixels.
        is_grey: Whether the image has a single colour channel.
        conversions: What decoding changes besides the size.
    """

    width: int
    height: int
    is_grey: bool
    conversions: frozenset[Conversion]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        return self.width, self.height


def read_image_header(source: ImageSource, index: int) -> ImageHeader:
    """Return the header of image number `index`.

    Raises:
        DataError: The image cannot be read.
    """
    try:
        with source.open(index) as image:
            check_size(image, source.name(index))
            return header_of(image)
    except DataError:
        raise
    except Exception as error:
        raise unreadable(source.name(index), error) from error


def header_of(image: Image.Image) -> ImageHeader:
    """Return the header of an image whose pixels need not be loaded."""
    orientation = _orientation(image)
    found: dict[Conversion, bool] = {
        "rotated": orientation in _TRANSPOSES,
        "palette": image.mode in {"P", "PA"},
        "alpha": image.has_transparency_data,
        "cmyk": image.mode == "CMYK",
        "sixteen_bit": image.mode in SIXTEEN_BIT_MODES,
        "several_frames": bool(getattr(image, "is_animated", False)),
    }
    # Pillow itself rotates TIFF files, and states their rotated size.
    is_swapped = orientation in _SWAPS_SIDES and not isinstance(image, TiffImagePlugin.TiffImageFile)
    width, height = image.size[::-1] if is_swapped else image.size
    return ImageHeader(
        width=width,
        height=height,
        is_grey=image.mode in _GREY_MODES,
        conversions=frozenset(name for name, applies in found.items() if applies),
    )


def as_displayed(image: Image.Image) -> Image.Image:
    """Return the image rotated and flipped as its EXIF data say, like `PIL.ImageOps.exif_transpose`."""
    image.load()  # first, because Pillow itself rotates TIFF files, and PNG files may end with their EXIF data
    transpose = _TRANSPOSES.get(_orientation(image))
    return image if transpose is None else image.transpose(transpose)


def check_size(image: Image.Image, name: str) -> None:
    """Check that an image is not too large to be decoded.

    Raises:
        DataError: It has more than `MAX_PIXELS` pixels.
    """
    if image.width * image.height > MAX_PIXELS:
        raise DataError(
            f"the image has {image.width}x{image.height} pixels, more than {MAX_PIXELS:,}; shrink or remove it",
            code="data.too_many_pixels",
            field=name,
        )


def unreadable(name: str, error: Exception) -> DataError:
    """Return the error for an image that Pillow cannot read."""
    if isinstance(error, Image.DecompressionBombError):
        return DataError(
            f"the image has more than {MAX_PIXELS:,} pixels; shrink or remove it",
            code="data.too_many_pixels",
            field=name,
        )
    reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return DataError(
        f"the image cannot be read ({reason}); repair or remove it", code="data.unreadable_image", field=name
    )


@dataclass(slots=True)
class HeaderSummary:
    """Counts over the headers of images.

    Attributes:
        num_images: Number of images.
        num_grey: Number of images with a single colour channel.
        sizes: Number of images by width and height, pixels.
        conversions: Number of images by conversion.
    """

    num_images: int = 0
    num_grey: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    conversions: Counter[str] = field(default_factory=Counter)

    def add(self, header: ImageHeader) -> None:
        """Count one image."""
        self.num_images += 1
        self.num_grey += header.is_grey
        self.sizes[header.size] += 1
        self.conversions.update(header.conversions)

    def counts(self, image_size: int) -> ImageConversions:
        """Return the counts for the manifest.

        Args:
            image_size: Height and width of the decoded images, pixels.
        """
        return ImageConversions(
            **dict(self.conversions),
            not_square=sum(count for (width, height), count in self.sizes.items() if width != height),
            enlarged=sum(count for size, count in self.sizes.items() if min(size) < image_size),
        )


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if it is unknown."""
    try:
        # For a PNG file without EXIF data, its own method decodes the pixels to search the end of the file.
        is_png = isinstance(image, PngImagePlugin.PngImageFile)
        exif = Image.Image.getexif(image) if is_png else image.getexif()
        orientation = exif.get(_ORIENTATION, 1)
    except _DAMAGED_EXIF:
        return 1
    return orientation if isinstance(orientation, int) else 1
