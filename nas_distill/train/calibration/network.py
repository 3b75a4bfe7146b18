"""Calibrate a trained network on images that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas_distill.data.splits import ImageSplit
from nas_distill.models.memory import with_halved_batches
from nas_distill.models.preprocess import Preprocess
from nas_distill.train.calibration.classifier import multiply_logits
from nas_distill.train.calibration.temperature import Temperatures, fit_temperatures
from nas_distill.train.evaluation import batch_size

MAX_IMAGES = 4096
"""Images that a temperature is fitted on: enough for one number; more would take memory."""

_SAMPLE = 2
"""Number of images that show whether the classifier can be scaled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedNetwork:
    """What the calibration of a network found and changed.

    Attributes:
        temperatures: Fitted temperatures.
        in_weights: Whether the network's logits are divided by `temperatures.final`.
    """

    temperatures: Temperatures
    in_weights: bool

    @property
    def undoing(self) -> float:
        """Factor on the network's present logits that undoes the calibration."""
        return self.temperatures.final if self.in_weights else 1.0

    @property
    def completing(self) -> float:
        """Factor on the network's present logits that completes the calibration."""
        return 1.0 if self.in_weights else 1.0 / self.temperatures.final

    def cross_fitting(self, images: int) -> Tensor:
        """Return the factors on the present logits that calibrate each image by a temperature that did not see it.

        Args:
            images: Number of images of the split that the network was calibrated on.

        Returns:
            float64 [images].
        """
        return self.undoing / self.temperatures.cross_fitted(torch.arange(images))


def calibrate(
    network: nn.Module,
    logits: Callable[[Tensor], Tensor],
    split: ImageSplit,
    *,
    preprocess: Preprocess,
    device: torch.device,
) -> CalibratedNetwork:
    """Fit temperatures on a split, and divide the network's logits by the final one if its classifier allows it.

    Args:
        network: Trained network on `device`; its classifier changes.
        logits: Function from uint8 images [B, C, H, W] on `device` to the network's logits [B, K], in eval mode.
        split: Images that the network was not trained on, with at least one image.
        preprocess: Conversion from uint8 images to network inputs.
        device: Device of the network.
    """
    positions = _sample(split.num_images)
    found = _logits_of(logits, split, positions, device)
    temperatures = fit_temperatures(found, split.labels[positions], positions)
    (sample,) = split.batches(positions[:_SAMPLE], _SAMPLE, device=device)
    is_changed = temperatures.final != 1.0
    in_weights = not is_changed or multiply_logits(network, 1.0 / temperatures.final, preprocess(sample.images))
    return CalibratedNetwork(temperatures=temperatures, in_weights=in_weights)


def _sample(images: int) -> Tensor:
    """Return the positions of at most `MAX_IMAGES` images, int64, ascending; the same for all networks."""
    # Not evenly spaced: with steps of five images, all would be of one part.
    order = torch.randperm(images, generator=torch.Generator().manual_seed(0))
    return order[:MAX_IMAGES].sort().values


def _logits_of(
    logits: Callable[[Tensor], Tensor], split: ImageSplit, positions: Tensor, device: torch.device
) -> Tensor:
    """Return the logits of some images, float32 [N, K] on the CPU."""

    def in_batches_of(size: int) -> Tensor:
        with torch.inference_mode():
            batches = split.batches(positions, size, device=device)
            return torch.cat([logits(batch.images).float().cpu() for batch in batches])

    return with_halved_batches(in_batches_of, batch_size(split.manifest.image_size), device)
