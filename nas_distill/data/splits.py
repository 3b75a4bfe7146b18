"""`open_split`: the images of one split, in batches on a device."""

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
from nas_distill.data.prepare import check_content, stored_format
from nas_distill.data.sources import open_source
from nas_distill.data.upload import Uploader
from nas_distill.run_directory.files import read_record
from nas_distill.run_directory.layout import RunDirectory

# A split over this share of a device's free memory stays on the host; models and other trials need the rest.
_RESIDENT_SHARE = 0.25


class ImageBatch(NamedTuple):
    """Images on one device; B is at most the batch size asked for.

    Attributes:
        indices: int64 [B], positions in the split.
        images: uint8 [B, C, H, W].
        labels: int64 [B].
    """

    indices: Tensor
    images: Tensor
    labels: Tensor


class ImageSplit(ABC):
    """One split: labels at hand, images in batches.

    Attributes:
        manifest: What the images are.
        labels: int64 [N], on the CPU.
    """

    def __init__(self, manifest: DataManifest, labels: Tensor) -> None:
        self.manifest = manifest
        self.labels = labels
        self._labels_on: dict[torch.device, Tensor] = {}

    @property
    def num_images(self) -> int:
        """N."""
        return len(self.labels)

    def labels_on(self, device: torch.device) -> Tensor:
        """Returns the labels, int64 [N], on `device`, where they stay."""
        if device not in self._labels_on:
            self._labels_on[device] = self.labels.to(device)
        return self._labels_on[device]

    def resident(self, device: torch.device) -> Tensor | None:
        """Returns all images, uint8 [N, C, H, W], where they are held on `device`; they are not to be written to."""
        del device
        return None

    @abstractmethod
    def read(self, parts: Iterable[Tensor], *, device: torch.device) -> Iterator[Tensor]:
        """Yields the images at each of `parts`, uint8 [B, C, H, W] on `device`, in the order of the parts.

        Args:
            parts: int64 [B], positions in the split, on `device` where all images are `resident`, else on the CPU;
                taken a few ahead.
            device: Where the images are wanted.

        Raises:
            DataError: An image that was not decoded before is damaged.
        """

    def batches(self, order: Tensor, batch_size: int, *, device: torch.device) -> Iterator[ImageBatch]:
        """Yields the images at `order`, `batch_size` at a time; the last batch may be smaller.

        Args:
            order: int64 [M], positions in the split, 0 to N-1, in any order, repeats allowed.
            batch_size: At least 1.
            device: Where the batches are wanted.

        Raises:
            DataError: An image that was not decoded before is damaged.
        """
        labels, parts = self.labels_on(device), batch_positions(order.to(device), batch_size)
        asked = parts if self.resident(device) is not None else batch_positions(order.cpu(), batch_size)
        for indices, images in zip(parts, self.read(asked, device=device), strict=True):
            yield ImageBatch(indices, images, labels.index_select(0, indices))


class MemorySplit(ImageSplit):
    """A split whose decoded images are memory-mapped, and held on the device where there is room."""

    def __init__(self, manifest: DataManifest, labels: Tensor, images: Tensor) -> None:
        super().__init__(manifest, labels)
        self._images = images
        self._resident: dict[torch.device, Tensor | None] = {torch.device("cpu"): images}

    def resident(self, device: torch.device) -> Tensor | None:
        """Returns all images where the device has room for them (`ImageSplit.resident`)."""
        if device not in self._resident:
            has_room = _has_room(device, self._images.nbytes)
            self._resident[device] = self._images.to(device) if has_room else None
        return self._resident[device]

    def read(self, parts: Iterable[Tensor], *, device: torch.device) -> Iterator[Tensor]:
        """Yields the images at each part by indexing alone (`ImageSplit.read`)."""
        images = self.resident(device)
        if images is not None:
            yield from (images.index_select(0, part) for part in parts)
            return
        upload = Uploader(device)
        for part in parts:
            staged = upload.staging((len(part), *self._images.shape[1:]))
            yield upload(torch.index_select(self._images, 0, part, out=staged))


class DecodedSplit(ImageSplit):
    """A split over the memory budget: its images are decoded by loader workers, each time they are read."""

    def __init__(self, manifest: DataManifest, labels: Tensor, decoder: BatchDecoder, workers: int) -> None:
        super().__init__(manifest, labels)
        self._loader = DecodingLoader(decoder, workers)

    def read(self, parts: Iterable[Tensor], *, device: torch.device) -> Iterator[Tensor]:
        """Yields the images at each part as the workers deliver them (`ImageSplit.read`)."""
        upload = Uploader(device)
        for images in self._loader.read(parts, pin=device.type == "cuda"):
            yield upload(images)


def open_split(config: DataConfig, folder: Path, name: SplitName) -> ImageSplit:
    """Returns the split `name` of the run directory `folder`.

    Args:
        config: The images, as `prepare_data` was given them.
        folder: A folder that `prepare_data` prepared.
        name: Which split; the images of "test" are decoded from the source unless `cache_test_images` kept them.

    Raises:
        RunError: The folder is not prepared or damaged, or the source has changed since.
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
    decoder = BatchDecoder(source, split.indices, stored_format(manifest))
    return DecodedSplit(manifest, labels, decoder, config.workers)


def batch_positions(order: Tensor, size: int) -> tuple[Tensor, ...]:
    """Returns `order` in parts of `size`; the last may be smaller."""
    # torch splits nothing into one empty part.
    return torch.split(order, size) if len(order) else ()


def _has_room(device: torch.device, num_bytes: int) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return num_bytes <= _RESIDENT_SHARE * free
