"""Loader workers that decode batches of images on demand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from nas_distill.data.pixels import PixelFormat, decode
from nas_distill.data.sources import ImageSource
from nas_distill.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class BatchDecoder(Dataset["Tensor | str"]):
    """Decodes whole batches of one split.

    Attributes:
        source: The images.
        indices: int64 [N], the split's positions in the source.
        pixels: The shape they are brought to.
    """

    source: ImageSource
    indices: NDArray[np.int64]
    pixels: PixelFormat

    def __getitem__(self, positions: list[int]) -> Tensor | str:
        """Returns uint8 [B, C, H, W], or what is wrong, as an exception would bring a traceback."""
        try:
            images = [decode(self.source, int(self.indices[position]), self.pixels) for position in positions]
        except DataError as error:
            return str(error)
        return torch.from_numpy(np.stack(images))


class _Batches(Sampler[list[int]]):
    """The positions that the next pass reads, batch by batch.

    As lists, because each tensor takes a file descriptor on its way to a worker.
    """

    def __init__(self) -> None:
        self.parts: Iterable[Tensor] = ()

    def __iter__(self) -> Iterator[list[int]]:
        return (part.tolist() for part in self.parts)


class DecodingLoader:
    """Passes over one split; the workers stay alive from pass to pass."""

    def __init__(self, decoder: BatchDecoder, workers: int) -> None:
        self._decoder = decoder
        self._workers = workers
        self._kept: dict[bool, tuple[DataLoader[Tensor | str], _Batches]] = {}
        self._busy: set[bool] = set()

    def read(self, parts: Iterable[Tensor], *, pin: bool) -> Iterator[Tensor]:
        """Yields the images at each of `parts`.

        Args:
            parts: int64 [B], positions in the split, one tensor per batch; taken a few ahead.
            pin: Whether the images are wanted in page-locked memory.

        Returns:
            uint8 [B, C, H, W] for each part, in order.

        Raises:
            DataError: An image is damaged.
        """
        if pin in self._busy:
            # A pass inside a pass: kept workers serve one pass at a time, so that this one gets its own.
            yield from self._pass(*self._build(pin, keep=False), parts)
            return
        if pin not in self._kept:
            self._kept[pin] = self._build(pin, keep=True)
        self._busy.add(pin)
        try:
            yield from self._pass(*self._kept[pin], parts)
        finally:
            self._busy.discard(pin)

    def _build(self, pin: bool, *, keep: bool) -> tuple[DataLoader[Tensor | str], _Batches]:
        batches = _Batches()
        loader: DataLoader[Tensor | str] = DataLoader(
            self._decoder,
            sampler=batches,
            batch_size=None,
            num_workers=self._workers,
            pin_memory=pin,
            persistent_workers=keep and self._workers > 0,
            # For the seeds of workers, which draw nothing: from the global one they would take what dropout gets.
            generator=torch.Generator(),
        )
        return loader, batches

    @staticmethod
    def _pass(loader: DataLoader[Tensor | str], batches: _Batches, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        batches.parts = parts
        for images in loader:
            if isinstance(images, str):
                raise DataError(images)
            yield images
