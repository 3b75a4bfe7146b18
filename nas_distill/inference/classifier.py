"""`Classifier`: a trained student that takes images and returns classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from nas_distill.data.pixels import PixelFormat, decode_file, to_array
from nas_distill.errors import DataError
from nas_distill.models.preprocess import Preprocess
from nas_distill.records.base import Record, Share
from nas_distill.records.student_interface import StudentInterface


class Prediction(Record):
    """A class and its probability.

    Attributes:
        class_name: Name of the class.
        probability: Softmax probability, 0 to 1.
    """

    class_name: str
    probability: Share


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classifier:
    """A trained student.

    Attributes:
        interface: Input, classes and architecture.
        forward: Function from network inputs, normalised float32 [B, C, H, W], to logits, float32 [B, K], on the CPU.
        network: The network, frozen and in eval mode; None for an exported file without one.
    """

    interface: StudentInterface
    forward: Callable[[Tensor], Tensor]
    network: nn.Module | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the outputs."""
        return self.interface.class_names

    @property
    def pixel_format(self) -> PixelFormat:
        """Size and channels of the images that `logits` takes."""
        one = self.interface
        return PixelFormat(image_size=one.image_size, channels=one.channels, resizing=one.resizing)

    def inputs(self, images: Tensor) -> Tensor:
        """Return the network inputs, float32 [B, C, H, W], of images of the student's size, uint8 [B, C, H, W]."""
        return Preprocess.of(self.interface.normalisation)(images)

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits, float32 [B, K], of images of the student's size, uint8 [B, C, H, W]."""
        with torch.inference_mode():
            return self.forward(self.inputs(images))

    def predict(self, image: str | Path | Image.Image, top: int = 1) -> tuple[Prediction, ...]:
        """Return the most probable classes of an image, best first.

        The image is decoded, rotated, resized and normalised as in training.

        Args:
            image: Path of an image file, or a Pillow image.
            top: Number of classes.

        Raises:
            DataError: The image is missing or damaged.
        """
        if isinstance(image, Image.Image):
            pixels = to_array(image, self.pixel_format)
        else:
            pixels = decode_file(Path(image), self.pixel_format)
        probabilities = self.logits(torch.from_numpy(np.stack([pixels]))).double().softmax(dim=1)[0]
        best = probabilities.topk(min(top, len(probabilities)))
        return tuple(
            Prediction(class_name=self.class_names[index], probability=min(1.0, value))
            for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        )

    def predict_each(
        self, images: Iterable[Path], top: int = 1
    ) -> Iterator[tuple[Path, tuple[Prediction, ...] | DataError]]:
        """Yield each path with the most probable classes of its image, or with the error of a damaged one.

        Args:
            images: Paths of image files.
            top: Number of classes per image.
        """
        for path in images:
            try:
                yield path, self.predict(path, top)
            except DataError as error:
                yield path, error


def network_classifier(network: nn.Module, interface: StudentInterface) -> Classifier:
    """Return the classifier of a network, which is frozen and put into eval mode."""
    network = network.requires_grad_(False).eval()

    def forward(inputs: Tensor) -> Tensor:
        found: Tensor = network(inputs)
        return found.float()

    return Classifier(interface=interface, forward=forward, network=network)
