"""`NetworkShape`: the input and output shape that all networks of a search share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkShape:
    """Input and output shape of the networks of a search; `DataManifest.network_shape` derives it from the images.

    Attributes:
        num_classes: Number of classes, the length of the output.
        channels: Number of input channels, 1 or 3.
        image_size: Height and width of the input, pixels.
    """

    num_classes: int
    channels: int
    image_size: int
