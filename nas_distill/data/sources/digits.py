"""`digits`: scikit-learn's embedded handwritten digits, 1,797 grey images of 8 x 8 pixels in 10 classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nas_distill.data.sources.base import ImageSource, content_digest


@dataclass(frozen=True, kw_only=True, eq=False)
class DigitsSource(ImageSource):
    """The embedded digits.

    Attributes:
        pixels: uint8 [1797, 8, 8], the original 0 to 16 brought to 0 to 255.
    """

    pixels: NDArray[np.uint8]

    @classmethod
    def load(cls) -> Self:
        """Returns the source."""
        from sklearn.datasets import load_digits  # a second of importing that only this source needs

        digits = load_digits()
        pixels = np.rint(digits.images * (255.0 / 16.0)).astype(np.uint8)
        labels = digits.target.astype(np.int64)
        return cls(
            class_names=tuple(str(name) for name in digits.target_names),
            labels=labels,
            native_splits={"train": range(len(labels))},
            content_id=content_digest("digits", pixels, labels),
            pixels=pixels,
        )

    def open(self, index: int) -> Image.Image:
        """Returns image number `index`."""
        return Image.fromarray(self.pixels[index])

    def name(self, index: int) -> str:
        """Returns such as "digits[7]"."""
        return f"digits[{index}]"
