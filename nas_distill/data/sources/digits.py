"""`digits`: the handwritten digits that ship with scikit-learn, 1,797 grey images of 8x8 pixels in 10 classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nas_distill.data.sources.base import ImageSource, content_digest


@dataclass(frozen=True, kw_only=True, eq=False)
class DigitsSource(ImageSource):
    """scikit-learn's handwritten digits.

    Attributes:
        pixels: Images, uint8 [1797, 8, 8], scaled from 0..16 to 0..255.
    """

    pixels: NDArray[np.uint8]

    @classmethod
    def load(cls) -> Self:
        """Return the source."""
        from sklearn.datasets import load_digits  # imported here: it takes a second, and only this source needs it

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
        """Return image number `index`."""
        return Image.fromarray(self.pixels[index])

    def name(self, index: int) -> str:
        """Return a name such as "digits[7]"."""
        return f"digits[{index}]"
