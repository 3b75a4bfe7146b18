"""Decode batches of images on demand in loader workers."""

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

# A worker sends an error instead of raising it: `DataLoader` would put a traceback into the message.
_Result = Tensor | DataError


@dataclass(frozen=True, slots=True, eq=False)
class BatchDecoder(Dataset[_Result]):
    """Dataset whose items are whole decoded batches of one split.

    Attributes:
        source: Source of the images.
        indices: int64 [N], position in the source of each image of the split.
        pixel_format: Size and channels of the decoded images.
    """

    source: ImageSource
    indices: NDArray[np.int64]
    pixel_format: PixelFormat

    def __getitem__(self, positions: list[int]) -> _Result:
        """Return the images at `positions` of the split, uint8 [B, C, H, W], or the error of a damaged image."""
        try:
            images = [decode(self.source, int(self.indices[position]), self.pixel_format) for position in positions]
        except DataError as error:
            return error
        return torch.from_numpy(np.stack(images))


class _BatchPositions(Sampler[list[int]]):
    """Sampler that yields the positions of each batch of the next pass.

    It yields lists: a tensor would take a file descriptor on its way to a worker.
    """

    def __init__(self) -> None:
        self.batches: Iterable[Tensor] = ()

    def __iter__(self) -> Iterator[list[int]]:
        return (positions.tolist() for positions in self.batches)


class DecodingLoader:
    """Data loader for repeated passes over one split; its workers stay alive between passes.

    Args:
        decoder: Dataset that decodes batches.
        workers: Number of worker processes; 0 decodes in this process.
    """

    def __init__(self, decoder: BatchDecoder, workers: int) -> None:
        self._decoder = decoder
        self._workers = workers
        # Loaders by whether they pin memory.
        self._loaders: dict[bool, tuple[DataLoader[_Result], _BatchPositions]] = {}
        self._busy: set[bool] = set()

    def read(self, batches: Iterable[Tensor], *, pin: bool) -> Iterator[Tensor]:
        """Yield the images of each batch, uint8 [B, C, H, W], in the order of `batches`.

        Args:
            batches: Positions in the split, int64 [B] per batch. Workers fetch a few batches ahead.
            pin: Whether to return the images in page-locked memory.

        Raises:
            DataError: An image is damaged.
        """
        if pin in self._busy:
            # A nested pass gets workers of its own: persistent workers serve one pass at a time.
            yield from self._pass(*self._build(pin, persistent=False), batches)
            return
        if pin not in self._loaders:
            self._loaders[pin] = self._build(pin, persistent=True)
        self._busy.add(pin)
        try:
            yield from self._pass(*self._loaders[pin], batches)
        finally:
            self._busy.discard(pin)

    def _build(self, pin: bool, *, persistent: bool) -> tuple[DataLoader[_Result], _BatchPositions]:
        sampler = _BatchPositions()
        loader: DataLoader[_Result] = DataLoader(
            self._decoder,
            sampler=sampler,
            batch_size=None,
            num_workers=self._workers,
            pin_memory=pin,
            persistent_workers=persistent and self._workers > 0,
            # `DataLoader` draws worker seeds that we never use. Drawn from the global generator, they would change
            # the random numbers of dropout.
            generator=torch.Generator(),
        )
        return loader, sampler

    @staticmethod
    def _pass(loader: DataLoader[_Result], sampler: _BatchPositions, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        sampler.batches = batches
        for result in loader:
            if isinstance(result, DataError):
                raise result
            yield result
