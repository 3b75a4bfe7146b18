"""Mean and standard deviation that pixels are normalised with."""

from __future__ import annotations

from typing import Self

from pydantic import PositiveFloat, model_validator

from nas_distill.records.base import Record, Share


class Normalisation(Record):
    """Normalisation of a network's input: (pixel - mean) / std, with pixels scaled to 0..1.

    Attributes:
        mean: Mean of each channel, 0 to 1.
        std: Standard deviation of each channel, above 0.
    """

    mean: tuple[Share, ...]
    std: tuple[PositiveFloat, ...]

    @model_validator(mode="after")
    def _one_value_per_channel(self) -> Self:
        if not self.mean or len(self.mean) != len(self.std):
            raise ValueError("mean and std must have one value for each channel")
        return self

    def for_channels(self, channels: int) -> Self:
        """Return the normalisation for images with `channels` channels.

        With another number of channels, each gets the average over this normalisation's channels. That is how timm
        treats grey images of a network for RGB, whose first convolution it sums over its input channels.
        """
        if len(self.mean) == channels:
            return self
        mean, std = sum(self.mean) / len(self.mean), sum(self.std) / len(self.std)
        return type(self)(mean=(mean,) * channels, std=(std,) * channels)
