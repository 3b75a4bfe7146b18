"""How images of other sizes are brought to the size of a network's input."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from nas_distill.records.base import Record

Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
CropRatio = Annotated[float, Field(gt=0.0, le=1.0)]


class Resizing(Record):
    """Resizing of the shorter side, then a centre crop, as in timm's evaluation.

    Attributes:
        crop_ratio: Share of the shorter side that the crop keeps, above 0, at most 1; timm's `crop_pct`.
        interpolation: Pillow's filter.
    """

    crop_ratio: CropRatio = 1.0
    interpolation: Interpolation = "bicubic"


class NetworkInput(Record):
    """The images that a network was made for.

    Attributes:
        image_size: Height and width, pixels.
        resizing: How images of other sizes are resized.
    """

    image_size: PositiveInt
    resizing: Resizing
