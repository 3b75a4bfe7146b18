"""Convert stored uint8 images to network inputs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from nas_distill.records.normalisation import Normalisation


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocess:
    """Scaling and normalisation of images; also resizing and channel repetition where needed.

    Attributes:
        mean: Mean of each channel, on the scale from 0 to 1.
        std: Standard deviation of each channel, on the scale from 0 to 1, above 0.
        image_size: Input height and width of the network, pixels; None for the size of the images.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int | None = None

    @classmethod
    def of(cls, normalisation: Normalisation, *, image_size: int | None = None) -> Self:
        """Return the conversion with this normalisation."""
        return cls(mean=normalisation.mean, std=normalisation.std, image_size=image_size)

    @property
    def normalisation(self) -> Normalisation:
        """Mean and standard deviation as a record."""
        return Normalisation(mean=self.mean, std=self.std)

    def __call__(self, images: Tensor) -> Tensor:
        """Return the network inputs for a batch of images.

        Args:
            images: Images, uint8 [B, C, H, W]. For C = 1 and a network with 3 channels, the grey value is repeated.

        Returns:
            Network inputs, float32 [B, len(mean), image_size, image_size], contiguous.
        """
        scale, shift = _affine(self.mean, self.std, images.device)
        pixels = images.to(torch.float32, copy=True)
        if self.image_size is not None and pixels.shape[-1] != self.image_size:
            size = (self.image_size, self.image_size)
            pixels = interpolate(pixels, size=size, mode="bicubic", antialias=True, align_corners=False)
        if pixels.device.type != "cpu":
            return torch.addcmul(shift, pixels, scale)
        # On a CPU, two in-place operations are four times as fast as addcmul, whose broadcast is not vectorised.
        pixels = pixels.mul_(scale) if pixels.shape[1] == len(self.mean) else pixels * scale
        return pixels.add_(shift)


@lru_cache(maxsize=32)
def _affine(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    # Cached, because creating a device tensor from Python numbers would synchronise with the device at every step.
    # Outside inference mode, because a tensor created in it cannot be used in training.
    with torch.inference_mode(mode=False):
        scale = torch.tensor([1.0 / (255.0 * s) for s in std], dtype=torch.float32)
        shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], dtype=torch.float32)
        return scale.to(device)[:, None, None], shift.to(device)[:, None, None]
