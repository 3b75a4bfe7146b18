"""`open_split`: read the images of one split in batches on a device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from nas_distill.config import DataConfig
from nas_distill.data.decoding import BatchDecoder, DecodingLoader
from nas_distill.data.image_cache import CACHED_SPLITS, images_path, images_shape, map_images
from nas_distill.data.manifest import DataManifest, SplitName
from nas_distill.data.partition import read_splits
from nas_distill.data.prepare import check_content, pixel_format_of
from nas_distill.data.sources import open_source
from nas_distill.data.upload import Uploader
from nas_distill.run_directory.files import read_record
from nas_distill.run_directory.layout import RunDirectory

# A split is copied to a GPU if it takes at most this fraction of the free memory; models and other trials need the
# rest.
_RESIDENT_FRACTION = 0.25


class ImageBatch(NamedTuple):
    """A batch of B images on one device.

    Attributes:
        indices: Positions in the split, int64 [B].
        images: Pixels, uint8 [B, C, H, W].
        labels: Class labels, int64 [B].
    """

    indices: Tensor
    images: Tensor
    labels: Tensor


class ImageSplit(ABC):
    """One split: labels in memory, images in batches.

    Attributes:
        manifest: Description of the run's images.
        labels: Class labels on the CPU, int64 [N].
    """

    def __init__(self, manifest: DataManifest, labels: Tensor) -> None:
        self.manifest = manifest
        self.labels = labels
        self._labels_on: dict[torch.device, Tensor] = {}

    @property
    def num_images(self) -> int:
        """Number of images N."""
        return len(self.labels)

    def labels_on(self, device: torch.device) -> Tensor:
        """Return the labels on `device`, int64 [N]; later calls return the same tensor."""
        if device not in self._labels_on:
            self._labels_on[device] = self.labels.to(device)
        return self._labels_on[device]

    def resident(self, device: torch.device) -> Tensor | None:
        """Return all images on `device`, uint8 [N, C, H, W], or None if they are not held there. Do not modify them."""
        del device
        return None

    @abstractmethod
    def read(self, batches: Iterable[Tensor], *, device: torch.device) -> Iterator[Tensor]:
        """Yield the images of each batch on `device`, uint8 [B, C, H, W], in the order of `batches`.

        Args:
            batches: Positions in the split, int64 [B] per batch; on `device` if all images are `resident` there, else
                on the CPU. A few batches are fetched ahead.
            device: Device of the returned images.

        Raises:
            DataError: An image that is decoded on demand is damaged.
        """

    def batches(self, order: Tensor, batch_size: int, *, device: torch.device) -> Iterator[ImageBatch]:
        """Yield the images at `order` in batches; the last batch may be smaller.

        Args:
            order: Positions in the split, int64 [M], 0 to N-1, in any order, with or without repetitions.
            batch_size: Images per batch, at least 1.
            device: Device of the batches.

        Raises:
            DataError: An image that is decoded on demand is damaged.
        """
        labels, indices = self.labels_on(device), batch_positions(order.to(device), batch_size)
        to_read = indices if self.resident(device) is not None else batch_positions(order.cpu(), batch_size)
        for positions, images in zip(indices, self.read(to_read, device=device), strict=True):
            yield ImageBatch(positions, images, labels.index_select(0, positions))


class MemorySplit(ImageSplit):
    """A split whose decoded images are memory-mapped, and copied to the device if it has room."""

    def __init__(self, manifest: DataManifest, labels: Tensor, images: Tensor) -> None:
        super().__init__(manifest, labels)
        self._images = images
        self._resident: dict[torch.device, Tensor | None] = {torch.device("cpu"): images}

    def resident(self, device: torch.device) -> Tensor | None:
        """Return all images on `device`, or None if they take too much of its memory (see `ImageSplit.resident`)."""
        if device not in self._resident:
            has_room = _has_room(device, self._images.nbytes)
            self._resident[device] = self._images.to(device) if has_room else None
        return self._resident[device]

    def read(self, batches: Iterable[Tensor], *, device: torch.device) -> Iterator[Tensor]:
        """Yield the images of each batch, gathered from memory (see `ImageSplit.read`)."""
        images = self.resident(device)
        if images is not None:
            yield from (images.index_select(0, positions) for positions in batches)
            return
        upload = Uploader(device)
        for positions in batches:
            staged = upload.staging((len(positions), *self._images.shape[1:]))
            yield upload(torch.index_select(self._images, 0, positions, out=staged))


class DecodedSplit(ImageSplit):
    """A split that is not cached: loader workers decode its images each time they are read."""

    def __init__(self, manifest: DataManifest, labels: Tensor, decoder: BatchDecoder, workers: int) -> None:
        super().__init__(manifest, labels)
        self._loader = DecodingLoader(decoder, workers)

    def read(self, batches: Iterable[Tensor], *, device: torch.device) -> Iterator[Tensor]:
        """Yield the images of each batch as the workers deliver them (see `ImageSplit.read`)."""
        upload = Uploader(device)
        for images in self._loader.read(batches, pin=device.type == "cuda"):
            yield upload(images)


def open_split(config: DataConfig, folder: Path, name: SplitName) -> ImageSplit:
    """Return split `name` of a run directory.

    Args:
        config: Data settings, as given to `prepare_data`.
        folder: Run directory that `prepare_data` has prepared.
        name: Name of the split. Images of "test" are decoded from the source unless `cache_test_images` has cached
            them.

    Raises:
        RunError: The folder is not prepared or is damaged, or the source has changed since.
        DataError: The source cannot be read.
    """
    run = RunDirectory(folder)
    manifest = read_record(run.data_manifest, DataManifest)
    split = read_splits(run.split)[name]
    labels = torch.from_numpy(split.labels)
    path = images_path(folder, name)
    if manifest.images_cached and (name in CACHED_SPLITS or path.exists()):
        images = map_images(path, images_shape(manifest, name))
        return MemorySplit(manifest, labels, torch.from_numpy(images))
    source = open_source(config)
    check_content(manifest, source, folder)
    decoder = BatchDecoder(source, split.indices, pixel_format_of(manifest))
    return DecodedSplit(manifest, labels, decoder, config.workers)


def batch_positions(order: Tensor, size: int) -> tuple[Tensor, ...]:
    """Return `order` in batches of `size` positions; the last may be smaller."""
    # `torch.split` returns one empty tensor for an empty input.
    return torch.split(order, size) if len(order) else ()


def _has_room(device: torch.device, num_bytes: int) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return num_bytes <= _RESIDENT_FRACTION * free
