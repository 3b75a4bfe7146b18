"""`prepare_data`: from a source to a run directory's `data.json`, `split.npz` and `images/`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nas_distill.callbacks import Progress
from nas_distill.config import DataConfig
from nas_distill.data.disk_budget import check_disk_space, default_memory_budget
from nas_distill.data.image_cache import (
    CACHED_SPLITS,
    images_path,
    images_shape,
    is_cache_complete,
    is_cached,
    write_images,
)
from nas_distill.data.manifest import SPLIT_NAMES, DataManifest, SplitName, SplitSettings
from nas_distill.data.parallel_decode import ParallelDecoder, PixelMoments
from nas_distill.data.partition import Split, partition, read_splits, write_splits
from nas_distill.data.pixels import PixelFormat
from nas_distill.data.sources import ImageSource, open_source
from nas_distill.data.sources.base import content_digest
from nas_distill.errors import RunError
from nas_distill.run_directory.files import read_record, write_record
from nas_distill.run_directory.layout import RunDirectory

_SAMPLED_IMAGES = 10_000

Splits = Mapping[SplitName, Split]


def prepare_data(config: DataConfig, folder: Path, progress: Progress) -> DataManifest:
    """Makes the splits of `config`'s images and keeps the decoded images where they fit the memory budget.

    Writes `split.npz` (indices and labels of the three splits), `images/train.npy`, `images/validation.npy`
    and, last, `data.json`. What is there already is checked and kept; what is lost of it is made again. Test
    images are never decoded here.

    Args:
        config: The images.
        folder: The run directory.
        progress: Told about decoding.

    Raises:
        DataError: The images cannot be read or do not suit the request.
        RunError: The folder holds other data, or cannot be written.
    """
    source = open_source(config)
    reader = ParallelDecoder(source=source, progress=progress)
    run = RunDirectory(folder)
    if run.data_manifest.exists():
        manifest = read_record(run.data_manifest, DataManifest)
        splits = _restored_splits(manifest, config, source, run)
        if manifest.images_cached and not is_cache_complete(folder, manifest):
            _cache_images(reader, splits, stored_format(manifest), folder)
        return manifest
    splits = partition(source.labels, source.native_splits, source.class_names, SplitSettings.from_config(config))
    looked_at = np.concatenate([splits[name].indices for name in CACHED_SPLITS])
    pixels = reader.find_format(looked_at, image_size=config.image_size, channels=config.channels)
    budget = default_memory_budget(folder) if config.memory_budget_mib is None else config.memory_budget_mib * 2**20
    images_cached = _num_bytes(splits, pixels) <= budget
    write_splits(run.split, splits)
    if images_cached:
        moments = _cache_images(reader, splits, pixels, folder)
    else:
        moments = _sampled_moments(reader, splits["train"], pixels)
    manifest = _describe(config, source, splits, pixels, moments, images_cached=images_cached)
    write_record(run.data_manifest, manifest)
    progress.event("data", _summary(manifest))
    return manifest


def cache_test_images(config: DataConfig, folder: Path, progress: Progress) -> None:
    """Decodes the test images into `images/test.npy`, where the others are kept decoded too and it is not done yet.

    Args:
        config: As `prepare_data` was given it.
        folder: Prepared.
        progress: Told about decoding.

    Raises:
        DataError: An image cannot be read.
        RunError: The source has changed since, or the file system refuses.
    """
    run = RunDirectory(folder)
    manifest = read_record(run.data_manifest, DataManifest)
    path, shape = images_path(folder, "test"), images_shape(manifest, "test")
    if not manifest.images_cached or is_cached(path, shape):
        return
    source = open_source(config)
    check_content(manifest, source, folder)
    indices = read_splits(run.split)["test"].indices
    images = ParallelDecoder(source=source, progress=progress).decode(
        indices, stored_format(manifest), "decoding test images"
    )
    check_disk_space(folder, math.prod(shape))
    write_images(path, images, shape)


def stored_format(manifest: DataManifest) -> PixelFormat:
    """Returns the shape that the images of `manifest` are brought to."""
    return PixelFormat(image_size=manifest.image_size, channels=manifest.channels, resize=manifest.resize)


def check_content(manifest: DataManifest, source: ImageSource, folder: Path) -> None:
    """Checks that `source` still holds the images that `folder` was prepared from.

    Raises:
        RunError: It does not.
    """
    if source.class_names != manifest.class_names:
        raise _other_data(folder, "classes", ", ".join(manifest.class_names), ", ".join(source.class_names))
    if source.content_id != manifest.content_id:
        raise _other_data(folder, "content (names, sizes and labels)", manifest.content_id, source.content_id)


def _cache_images(reader: ParallelDecoder, splits: Splits, pixels: PixelFormat, folder: Path) -> PixelMoments:
    """Writes the decoded images; returns the moments of the training images.

    Raises:
        RunError: The disk has no room for them.
    """
    check_disk_space(folder, _num_bytes(splits, pixels))
    moments = {name: PixelMoments() for name in CACHED_SPLITS}
    for name in CACHED_SPLITS:
        indices = splits[name].indices
        images = reader.decode(indices, pixels, f"decoding {name} images")
        shape = (len(indices), pixels.channels, pixels.image_size, pixels.image_size)
        write_images(images_path(folder, name), moments[name].watch(images), shape)
    return moments["train"]


def _num_bytes(splits: Splits, pixels: PixelFormat) -> int:
    return sum(len(splits[name].indices) for name in CACHED_SPLITS) * pixels.channels * pixels.image_size**2


def _sampled_moments(reader: ParallelDecoder, train: Split, pixels: PixelFormat) -> PixelMoments:
    size = min(_SAMPLED_IMAGES, len(train.indices))
    sample = np.sort(np.random.default_rng(0).choice(train.indices, size=size, replace=False))
    moments = PixelMoments()
    for _ in moments.watch(reader.decode(sample, pixels, "measuring training images")):
        pass
    return moments


def _describe(
    config: DataConfig,
    source: ImageSource,
    splits: Splits,
    pixels: PixelFormat,
    moments: PixelMoments,
    *,
    images_cached: bool,
) -> DataManifest:
    mean, std = moments.statistics()
    return DataManifest(
        source=config.source,
        class_names=source.class_names,
        image_size=pixels.image_size,
        channels=pixels.channels,
        resize=pixels.resize,
        num_train=len(splits["train"].indices),
        num_validation=len(splits["validation"].indices),
        num_test=len(splits["test"].indices),
        mean=mean,
        std=std,
        images_cached=images_cached,
        splits=SplitSettings.from_config(config),
        content_id=source.content_id,
        data_id=_data_id(source, splits, pixels.image_size, pixels.channels),
    )


def _data_id(source: ImageSource, splits: Splits, image_size: int, channels: int) -> str:
    facts = {
        "content": source.content_id,
        "classes": source.class_names,
        "image_size": image_size,
        "channels": channels,
    }
    return content_digest(facts, *(splits[name].indices for name in SPLIT_NAMES))


def _restored_splits(manifest: DataManifest, config: DataConfig, source: ImageSource, run: RunDirectory) -> Splits:
    """Returns the run's splits after checking that `config` asks for the same data."""
    check_content(manifest, source, run.path)
    asked = SplitSettings.from_config(config)
    for name in SplitSettings.model_fields:
        if getattr(asked, name) != getattr(manifest.splits, name):
            raise _other_data(run.path, f"data.{name}", getattr(manifest.splits, name), getattr(asked, name))
    for name in ("image_size", "channels"):
        if getattr(config, name) not in {None, getattr(manifest, name)}:
            raise _other_data(run.path, f"data.{name}", getattr(manifest, name), getattr(config, name))
    # A lost split file is made again; should another scikit-learn split otherwise, the digest tells.
    is_lost = not run.split.exists()
    if is_lost:
        splits = partition(source.labels, source.native_splits, source.class_names, manifest.splits)
    else:
        splits = read_splits(run.split)
    data_id = _data_id(source, splits, manifest.image_size, manifest.channels)
    if data_id != manifest.data_id:
        raise _other_data(run.path, "data_id (content and splits)", manifest.data_id, data_id)
    if is_lost:
        write_splits(run.split, splits)
    return splits


def _other_data(folder: Path, what: str, stored: object, asked: object) -> RunError:
    return RunError(
        f"{folder}: was prepared from other data: {what} was {stored} and is now {asked}; "
        "give the same data or choose another --out"
    )


def _summary(manifest: DataManifest) -> str:
    place = "kept decoded" if manifest.images_cached else "over the memory budget, decoded by loader workers"
    return (
        f"{manifest.source}: {manifest.num_train} training, {manifest.num_validation} validation and "
        f"{manifest.num_test} test images in {manifest.num_classes} classes, {manifest.image_size}x"
        f"{manifest.image_size} pixels, {'grey' if manifest.channels == 1 else 'RGB'}, {place}"
    )
