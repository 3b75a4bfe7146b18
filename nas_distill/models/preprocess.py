"""From stored uint8 images to what a network takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocess:
    """Scaling, normalisation and, where sizes or channels differ, adaptation of images.

    Attributes:
        mean: Per channel, on the 0 to 1 scale.
        std: Per channel, on the 0 to 1 scale, above 0.
        image_size: Height and width that the network takes, pixels; None keeps the images' own.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Returns float32 images for the network.

        Args:
            images: uint8 [B, C, H, W]; with C = 1 and a network of 3 channels the grey value is repeated.

        Returns:
            float32 [B, len(mean), image_size, image_size], contiguous.
        """
        scaled = images.to(torch.float32).div_(255.0)
        if scaled.shape[1] != len(self.mean):
            scaled = scaled.expand(-1, len(self.mean), -1, -1)
        if self.image_size is not None and scaled.shape[-1] != self.image_size:
            size = (self.image_size, self.image_size)
            scaled = interpolate(scaled, size=size, mode="bicubic", antialias=True, align_corners=False)
        return scaled.sub(_column(self.mean, scaled)).div_(_column(self.std, scaled))


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, 1, 1)
