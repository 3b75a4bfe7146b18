"""Reading many images once: their common shape, their pixels, the statistics of their pixels."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nas_distill.callbacks import Progress
from nas_distill.data.pixels import ImageHeader, PixelFormat, decode, read_image_header
from nas_distill.data.sources import ImageSource
from nas_distill.errors import DataError

ResultT = TypeVar("ResultT")

# Pillow decodes outside the interpreter's lock, so threads are enough.
_THREADS = min(16, os.cpu_count() or 1)
_AHEAD = 16 * _THREADS
_SMALLEST_STD = 1.0 / 255.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelDecoder:
    """Reads many images of one source with threads.

    Attributes:
        source: The images.
        progress: Told how many have been read.
    """

    source: ImageSource
    progress: Progress

    def find_format(self, indices: NDArray[np.int64], *, image_size: int | None, channels: int | None) -> PixelFormat:
        """Returns the shape that the images are brought to, from their headers where the user left it open.

        Args:
            indices: int64 [N], the images to look at, N at least 1.
            image_size: As the user wishes, pixels; None for the images' own size.
            channels: As the user wishes; None for 1 when all images are grey and 3 otherwise.

        Raises:
            DataError: An image is unreadable, or `image_size` is None and the sizes differ or are not square.
        """
        size, all_grey = image_size, channels == 1
        if image_size is None or channels is None:
            first, all_grey = self._survey(indices, sizes_matter=image_size is None)
            size = first.width if image_size is None else image_size
            all_grey = all_grey if channels is None else channels == 1
        assert size is not None
        return PixelFormat(image_size=size, channels=1 if all_grey else 3, resize=image_size is not None)

    def decode(self, indices: NDArray[np.int64], pixels: PixelFormat, task: str) -> Iterator[NDArray[np.uint8]]:
        """Yields each image, uint8 [C, H, W], in the order of `indices`.

        Args:
            indices: int64 [N].
            pixels: The shape of all images.
            task: What to call this work in the progress.

        Raises:
            DataError: An image is damaged or of another size.
        """
        return self._each(lambda index: decode(self.source, index, pixels), indices, task)

    def _survey(self, indices: NDArray[np.int64], *, sizes_matter: bool) -> tuple[ImageHeader, bool]:
        """Returns the first header and whether all images are grey."""
        headers = self._each(lambda index: read_image_header(self.source, index), indices, "looking at images")
        first = next(headers)
        all_grey = first.grey
        here = self.source.name(int(indices[0]))
        if sizes_matter and first.width != first.height:
            raise DataError(f"{here}: is {first.width}x{first.height}, not square; pass --image-size")
        for index, header in zip(indices[1:].tolist(), headers, strict=True):
            if sizes_matter and (header.width, header.height) != (first.width, first.height):
                raise DataError(
                    f"image sizes differ: {here} is {first.width}x{first.height} and "
                    f"{self.source.name(index)} is {header.width}x{header.height}; "
                    "pass --image-size to resize all"
                )
            all_grey = all_grey and header.grey
        return first, all_grey

    def _each(self, function: Callable[[int], ResultT], indices: NDArray[np.int64], task: str) -> Iterator[ResultT]:
        window: deque[Future[ResultT]] = deque()
        remaining = iter(indices.tolist())
        with ThreadPoolExecutor(_THREADS) as pool:
            try:
                for done in range(1, len(indices) + 1):
                    while len(window) < _AHEAD and (item := next(remaining, None)) is not None:
                        window.append(pool.submit(function, item))
                    yield window.popleft().result()
                    self.progress.step(task, done, len(indices))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


@dataclass(slots=True)
class PixelMoments:
    """Mean and standard deviation per channel, from exact integer sums."""

    count: int = 0
    total: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    squares: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, dtype=np.int64))

    def watch(self, images: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        """Counts each image, uint8 [C, H, W], and passes it on."""
        for image in images:
            wide = image.reshape(len(image), -1).astype(np.int64)
            self.count += wide.shape[1]
            self.total = self.total + wide.sum(axis=1)
            self.squares = self.squares + np.square(wide).sum(axis=1)
            yield image

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Returns mean and standard deviation per channel on the 0 to 1 scale; the latter at least 1/255."""
        mean = self.total / self.count
        variance = np.maximum(self.squares / self.count - np.square(mean), 0.0)
        std = np.maximum(np.sqrt(variance) / 255.0, _SMALLEST_STD)
        return tuple((mean / 255.0).tolist()), tuple(std.tolist())
