"""From stored uint8 images to what a network takes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import interpolate


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocess:
    """Scaling, normalisation and, where sizes or channels differ, adaptation of images.

    Attributes:
        mean: Per channel, on the 0 to 1 scale.
        std: Per channel, on the 0 to 1 scale, above 0.
        image_size: Height and width that the network takes, pixels; None unreleased the images' own.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Return float32 images for the network.

        Args:
            images: uint8 [B, C, H, W]; with C = 1 and a network of 3 channels the grey value is repeated.

        Returns:
            float32 [B, len(mean), image_size, image_size], contiguous.
        """
        scale, shift = _affine(self.mean, self.std, images.device)
        pixels = images.to(torch.float32, copy=True)
        if self.image_size is not None and pixels.shape[-1] != self.image_size:
            size = (self.image_size, self.image_size)
            pixels = interpolate(pixels, size=size, mode="bicubic", antialias=True, align_corners=False)
        if pixels.device.type != "cpu":
            return torch.addcmul(shift, pixels, scale)
        # On a CPU two passes in place are four times as fast as one addcmul, whose broadcast is not vectorised.
        pixels = pixels.mul_(scale) if pixels.shape[1] == len(self.mean) else pixels * scale
        return pixels.add_(shift)


@lru_cache(maxsize=32)
def _affine(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    # Cached because a device tensor made from Python numbers waits for the device, at every step. Outside
    # inference mode because a tensor made in it could not be used in training later.
    with torch.inference_mode(mode=False):
        scale = torch.tensor([1.0 / (255.0 * s) for s in std], dtype=torch.float32)
        shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], dtype=torch.float32)
        return scale.to(device)[:, None, None], shift.to(device)[:, None, None]
