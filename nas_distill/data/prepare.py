"""`prepare_data`: write `data.json`, `split.npz` and `images/` of a run directory from an image source."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas_distill.callbacks import Progress
from nas_distill.config import DataConfig
from nas_distill.data.bad_images import IMAGE_FAULTS, find_bad_images, refuse, without
from nas_distill.data.disk_budget import check_disk_space, default_memory_budget
from nas_distill.data.image_cache import (
    CACHED_SPLITS,
    images_path,
    images_shape,
    is_cache_complete,
    is_cached,
    write_images,
)
from nas_distill.data.manifest import SPLIT_NAMES, DataManifest, ImageConversions, SplitName, SplitSettings, summarise
from nas_distill.data.parallel_decode import ParallelDecoder, PixelMoments
from nas_distill.data.partition import SplitIndices, partition, read_splits, write_splits
from nas_distill.data.pixels import PixelFormat, find_fault
from nas_distill.data.sources import ImageSource, open_source
from nas_distill.data.sources.base import content_digest
from nas_distill.errors import DataError, RunError
from nas_distill.records.resizing import NetworkInput, Resizing
from nas_distill.run_directory.files import read_record, write_record
from nas_distill.run_directory.layout import RunDirectory

_STATISTICS_SAMPLE = 10_000
"""Images from which mean and standard deviation are estimated if the training images are not cached."""

Splits = Mapping[SplitName, SplitIndices]


def prepare_data(
    config: DataConfig, folder: Path, progress: Progress, *, teacher: NetworkInput | None = None
) -> DataManifest:
    """Split the images of `config` and cache the decoded images if they fit the memory budget.

    Writes `split.npz` (indices and labels of the three splits), `images/train.npy`, `images/validation.npy` and, last,
    `data.json`. In a prepared folder, existing files are checked, and missing or damaged ones are written again. Every
    image of the three splits is decoded once; the test images are not kept.

    Args:
        config: Image source and split settings.
        folder: Run directory.
        progress: Receives events and the number of decoded images.
        teacher: Input of the teacher, whose resizing is the default for `config`. Not used in a prepared folder.

    Returns:
        The manifest in `data.json`.

    Raises:
        DataError: The images cannot be read, or do not allow these settings.
        RunError: The folder was prepared from other data, or cannot be written.
    """
    source = open_source(config)
    decoder = ParallelDecoder(source=source, progress=progress)
    run = RunDirectory(folder)
    if run.data_manifest.exists():
        return _restore(config, run, decoder)
    try:
        return _prepare(config, run, decoder, teacher, skipped=())
    except DataError as error:
        if error.code not in IMAGE_FAULTS:
            raise
    # All images once more, to list every one that cannot be used. Without such images, this costs nothing.
    faults = find_bad_images(decoder)
    if config.bad_images == "fail":
        raise refuse(faults, total=len(source.labels))
    return _prepare(config, run, decoder, teacher, skipped=tuple(faults))


def _prepare(
    config: DataConfig,
    run: RunDirectory,
    decoder: ParallelDecoder,
    teacher: NetworkInput | None,
    *,
    skipped: tuple[int, ...],
) -> DataManifest:
    source = decoder.source
    native = without(source.native_splits, skipped)
    splits = partition(source.labels, native, source.class_names, SplitSettings.from_config(config))
    everything = np.concatenate([splits[name].indices for name in SPLIT_NAMES])
    pixel_format, conversions = decoder.find_format(
        everything,
        image_size=config.image_size,
        channels=config.channels,
        resizing=_resizing(config, teacher),
        suggested_size=None if teacher is None else teacher.image_size,
    )
    budget = default_memory_budget(run.path) if config.memory_budget_mib is None else config.memory_budget_mib * 2**20
    images_cached = _num_bytes(splits, pixel_format) <= budget
    write_splits(run.split, splits)
    if images_cached:
        moments = _cache_images(decoder, splits, pixel_format, run.path)
        _check_images(decoder, splits["test"].indices)
    else:
        _check_images(decoder, everything)
        moments = _estimate_moments(decoder, splits["train"], pixel_format)
    manifest = _make_manifest(
        config,
        source,
        splits,
        pixel_format=pixel_format,
        conversions=conversions,
        moments=moments,
        images_cached=images_cached,
        skipped=skipped,
    )
    write_record(run.data_manifest, manifest)
    decoder.progress.event("data", summarise(manifest))
    return manifest


def _check_images(decoder: ParallelDecoder, indices: NDArray[np.int64]) -> None:
    """Decode images that are decoded again later, so that damage is found before the search.

    Raises:
        DataError: An image cannot be used.
    """
    for fault in decoder.map(lambda index: find_fault(decoder.source, index), indices, "checking images"):
        if fault is not None:
            raise fault


def cache_test_images(config: DataConfig, folder: Path, progress: Progress) -> None:
    """Decode the test images into `images/test.npy` if the other splits are cached and this one is not.

    Args:
        config: Data settings, as given to `prepare_data`.
        folder: Prepared run directory.
        progress: Receives the number of decoded images.

    Raises:
        DataError: An image cannot be read.
        RunError: The source has changed since `prepare_data`, or the folder cannot be written.
    """
    run = RunDirectory(folder)
    manifest = read_record(run.data_manifest, DataManifest)
    path, shape = images_path(folder, "test"), images_shape(manifest, "test")
    if not manifest.images_cached or is_cached(path, shape):
        return
    source = open_source(config)
    check_content(manifest, source, folder)
    check_disk_space(folder, math.prod(shape))
    indices = read_splits(run.split)["test"].indices
    decoder = ParallelDecoder(source=source, progress=progress)
    write_images(path, decoder.decode(indices, pixel_format_of(manifest), "decoding test images"), shape)


def pixel_format_of(manifest: DataManifest) -> PixelFormat:
    """Return the size and channels of the decoded images of `manifest`."""
    return PixelFormat(image_size=manifest.image_size, channels=manifest.channels, resizing=manifest.resizing)


def check_content(manifest: DataManifest, source: ImageSource, folder: Path) -> None:
    """Check that `source` still contains the images that `folder` was prepared from.

    Raises:
        RunError: Class names, or the names, sizes or labels of the images, have changed.
    """
    if source.class_names != manifest.class_names:
        stored, found = (", ".join(names) for names in (manifest.class_names, source.class_names))
        raise _changed(folder, "data.source", "the classes", stored, found)
    if source.content_id != manifest.content_id:
        what = "the digest of the images and labels"
        raise _changed(folder, "data.source", what, manifest.content_id, source.content_id)


def _restore(config: DataConfig, run: RunDirectory, decoder: ParallelDecoder) -> DataManifest:
    """Return the manifest of a prepared folder after checking it against `config`, and write lost files again."""
    source = decoder.source
    manifest = read_record(run.data_manifest, DataManifest)
    check_content(manifest, source, run.path)
    _check_settings(manifest, config, run.path)
    stored = _read_or_none(run, decoder.progress)
    native = without(source.native_splits, manifest.skipped)
    splits = stored or partition(source.labels, native, source.class_names, manifest.splits)
    # Also detects an edited split file, and a scikit-learn version that splits differently.
    data_id = _data_id(source, splits, pixel_format_of(manifest))
    if data_id != manifest.data_id:
        raise _changed(run.path, str(run.split), "the digest of the images and splits", manifest.data_id, data_id)
    if any(not np.array_equal(source.labels[split.indices], split.labels) for split in splits.values()):
        raise _changed(run.path, str(run.split), "the labels", "those of the source", "others")
    if stored is None:
        write_splits(run.split, splits)
    if manifest.images_cached and not is_cache_complete(run.path, manifest):
        _cache_images(decoder, splits, pixel_format_of(manifest), run.path)
    return manifest


def _read_or_none(run: RunDirectory, progress: Progress) -> Splits | None:
    """Return the stored splits, or None when the file is missing or damaged: they follow from the data and the seed."""
    if not run.split.exists():
        return None
    try:
        return read_splits(run.split)
    except RunError as error:
        progress.event("warning", f"{error.field} is damaged and is written again")
        return None


def _check_settings(manifest: DataManifest, config: DataConfig, folder: Path) -> None:
    """Check that `config` asks for the splits, size, channels and resizing of `manifest`."""
    requested = SplitSettings.from_config(config)
    for name in SplitSettings.model_fields:
        if getattr(requested, name) != getattr(manifest.splits, name):
            stored, found = getattr(manifest.splits, name), getattr(requested, name)
            raise _changed(folder, f"data.{name}", "the value", stored, found)
    prepared: dict[str, object] = {"image_size": manifest.image_size, "channels": manifest.channels}
    prepared |= {} if manifest.resizing is None else manifest.resizing.model_dump()
    for name, stored in prepared.items():
        if getattr(config, name) not in {None, stored}:
            raise _changed(folder, f"data.{name}", "the value", stored, getattr(config, name))


def _cache_images(decoder: ParallelDecoder, splits: Splits, pixel_format: PixelFormat, folder: Path) -> PixelMoments:
    """Write the decoded images of `CACHED_SPLITS` and return the pixel moments of the training images.

    Raises:
        RunError: The disk has no room for them.
    """
    check_disk_space(folder, _num_bytes(splits, pixel_format))
    moments = {name: PixelMoments() for name in CACHED_SPLITS}
    for name in CACHED_SPLITS:
        indices = splits[name].indices
        images = decoder.decode(indices, pixel_format, f"decoding {name} images")
        shape = (len(indices), pixel_format.channels, pixel_format.image_size, pixel_format.image_size)
        write_images(images_path(folder, name), moments[name].observe(images), shape)
    return moments["train"]


def _num_bytes(splits: Splits, pixel_format: PixelFormat) -> int:
    num_images = sum(len(splits[name].indices) for name in CACHED_SPLITS)
    return num_images * pixel_format.channels * pixel_format.image_size**2


def _estimate_moments(decoder: ParallelDecoder, train: SplitIndices, pixel_format: PixelFormat) -> PixelMoments:
    """Return the pixel moments of a fixed random sample of the training images."""
    size = min(_STATISTICS_SAMPLE, len(train.indices))
    sample = np.sort(np.random.default_rng(0).choice(train.indices, size=size, replace=False))
    moments = PixelMoments()
    for _ in moments.observe(decoder.decode(sample, pixel_format, "computing pixel statistics")):
        pass
    return moments


def _make_manifest(
    config: DataConfig,
    source: ImageSource,
    splits: Splits,
    *,
    pixel_format: PixelFormat,
    conversions: ImageConversions,
    moments: PixelMoments,
    images_cached: bool,
    skipped: tuple[int, ...],
) -> DataManifest:
    mean, std = moments.statistics()
    return DataManifest(
        source=config.source,
        class_names=source.class_names,
        image_size=pixel_format.image_size,
        channels=pixel_format.channels,
        resizing=pixel_format.resizing,
        conversions=conversions,
        skipped=skipped,
        num_train=len(splits["train"].indices),
        num_validation=len(splits["validation"].indices),
        num_test=len(splits["test"].indices),
        mean=mean,
        std=std,
        images_cached=images_cached,
        splits=SplitSettings.from_config(config),
        content_id=source.content_id,
        data_id=_data_id(source, splits, pixel_format),
    )


def _resizing(config: DataConfig, teacher: NetworkInput | None) -> Resizing:
    """Return the configured resizing; what is not configured is the teacher's."""
    default = Resizing() if teacher is None else teacher.resizing
    return Resizing(
        crop_ratio=default.crop_ratio if config.crop_ratio is None else config.crop_ratio,
        interpolation=config.interpolation or default.interpolation,
    )


def _data_id(source: ImageSource, splits: Splits, pixel_format: PixelFormat) -> str:
    facts: dict[str, object] = {
        "content": source.content_id,
        "classes": source.class_names,
        "image_size": pixel_format.image_size,
        "channels": pixel_format.channels,
    }
    if pixel_format.resizing not in (None, Resizing()):
        facts["resizing"] = pixel_format.resizing.model_dump()
    return content_digest(facts, *(splits[name].indices for name in SPLIT_NAMES))


def _changed(folder: Path, field: str, what: str, stored: object, found: object) -> RunError:
    return RunError(
        f"{folder} was prepared from other data: {what} was {stored} and is now {found}; use the same data and "
        "settings or choose another --out",
        code="data.changed",
        field=field,
    )
