"""Read every image once with a thread pool: common size, pixels and pixel statistics."""

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
from nas_distill.data.headers import HeaderSummary, read_image_header
from nas_distill.data.manifest import ImageConversions
from nas_distill.data.pixels import PixelFormat, decode
from nas_distill.data.sources import ImageSource
from nas_distill.errors import DataError
from nas_distill.records.resizing import Resizing

ResultT = TypeVar("ResultT")

# Pillow releases the interpreter lock while it decodes, so threads are enough.
_THREADS = min(16, os.cpu_count() or 1)
_QUEUE_SIZE = 16 * _THREADS
_MIN_STD = 1.0 / 255.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelDecoder:
    """Decodes images of one source with a thread pool.

    Attributes:
        source: Source of the images.
        progress: Receives the number of images read so far.
    """

    source: ImageSource
    progress: Progress

    def find_format(
        self,
        indices: NDArray[np.int64],
        *,
        image_size: int | None,
        channels: int | None,
        resizing: Resizing | None = None,
        suggested_size: int | None = None,
    ) -> tuple[PixelFormat, ImageConversions]:
        """Return the common format of the decoded images, and how many images have to be converted to it.

        Args:
            indices: Positions in the source of the images to inspect, int64 [N] with N >= 1.
            image_size: Requested height and width, pixels; None for the images' own size.
            channels: Requested channels; None for 1 if all images are grey, else 3.
            resizing: How images are resized if `image_size` is given. Default: the whole centre square, bicubic.
            suggested_size: Size that errors suggest, pixels.

        Raises:
            DataError: An image cannot be read, or `image_size` is None and the images differ in size or are not
                square.
        """
        headers = self._scan_headers(indices, check_sizes=image_size is None, suggested_size=suggested_size)
        size = next(iter(headers.sizes))[0] if image_size is None else image_size
        is_grey = headers.num_grey == headers.num_images if channels is None else channels == 1
        pixel_format = PixelFormat(
            image_size=size,
            channels=1 if is_grey else 3,
            resizing=None if image_size is None else resizing or Resizing(),
        )
        return pixel_format, headers.counts(size)

    def decode(self, indices: NDArray[np.int64], pixel_format: PixelFormat, task: str) -> Iterator[NDArray[np.uint8]]:
        """Yield each image, uint8 [C, H, W], in the order of `indices`.

        Args:
            indices: Positions in the source, int64 [N].
            pixel_format: Size and channels of the decoded images.
            task: Name of this work in the progress display.

        Raises:
            DataError: An image is damaged, or of another size and `pixel_format.resizing` is None.
        """
        return self.map(lambda index: decode(self.source, index, pixel_format), indices, task)

    def _scan_headers(
        self, indices: NDArray[np.int64], *, check_sizes: bool, suggested_size: int | None
    ) -> HeaderSummary:
        """Return the counts over all headers."""
        found, first_size = HeaderSummary(), (0, 0)
        flag = "--image-size" if suggested_size is None else f"--image-size {suggested_size} (the teacher's)"
        headers = self.map(lambda index: read_image_header(self.source, index), indices, "reading image headers")
        for index, header in zip(indices.tolist(), headers, strict=True):
            first_size = first_size if found.num_images else header.size
            found.add(header)
            if check_sizes and header.size != first_size:
                raise DataError(
                    f"the image is {header.width}x{header.height} pixels, but {self.source.name(int(indices[0]))} is "
                    f"{first_size[0]}x{first_size[1]}; pass {flag} to resize all images",
                    code="data.size_mismatch",
                    field=self.source.name(index),
                )
            if check_sizes and header.width != header.height:
                raise DataError(
                    f"the image is {header.width}x{header.height} pixels, which is not square; pass {flag}",
                    code="data.not_square",
                    field=self.source.name(index),
                )
        return found

    def map(self, function: Callable[[int], ResultT], indices: NDArray[np.int64], task: str) -> Iterator[ResultT]:
        """Yield `function(index)` for each index in order; at most `_QUEUE_SIZE` results wait in memory."""
        queue: deque[Future[ResultT]] = deque()
        remaining = iter(indices.tolist())
        with ThreadPoolExecutor(_THREADS) as pool:
            try:
                for done in range(1, len(indices) + 1):
                    while len(queue) < _QUEUE_SIZE and (index := next(remaining, None)) is not None:
                        queue.append(pool.submit(function, index))
                    yield queue.popleft().result()
                    self.progress.step(task, done, len(indices))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


@dataclass(slots=True)
class PixelMoments:
    """Running mean and standard deviation per channel, from exact integer sums."""

    count: int = 0
    total: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    squares: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, dtype=np.int64))

    def observe(self, images: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        """Add each image, uint8 [C, H, W], to the sums and yield it unchanged."""
        for image in images:
            wide = image.reshape(len(image), -1).astype(np.int64)
            self.count += wide.shape[1]
            self.total = self.total + wide.sum(axis=1)
            self.squares = self.squares + np.square(wide).sum(axis=1)
            yield image

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation per channel for pixels scaled to 0..1; the latter is at least 1/255."""
        mean = self.total / self.count
        variance = np.maximum(self.squares / self.count - np.square(mean), 0.0)
        std = np.maximum(np.sqrt(variance) / 255.0, _MIN_STD)
        return tuple((mean / 255.0).tolist()), tuple(std.tolist())
