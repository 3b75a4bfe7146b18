"""The decoded-image cache of a run directory: `images/SPLIT.npy`, uint8 [N, C, H, W], and its receipt.

A split is cached once its receipt is written. Every process compares a file with its receipt before it uses the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas_distill.data.manifest import DataManifest, SplitName
from nas_distill.errors import RunError
from nas_distill.run_directory.arrays import map_array
from nas_distill.run_directory.files import read_record, reading, write_atomic, write_record
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.receipts import FileReceipt, check_receipt, make_receipt, receipt_path

CACHED_SPLITS: tuple[SplitName, ...] = ("train", "validation")
"""Splits that `prepare_data` caches. The test split is cached when a student is first confirmed on it."""

_HINT = "resume the search to decode the images again"

Shape = tuple[int, int, int, int]


def images_path(folder: Path, name: SplitName) -> Path:
    """Return the path of the cached images of split `name` in the run directory `folder`."""
    return RunDirectory(folder).images / f"{name}.npy"


def images_shape(manifest: DataManifest, name: SplitName) -> Shape:
    """Return the shape (N, C, H, W) of the images of split `name`."""
    return (manifest.num_images(name), manifest.channels, manifest.image_size, manifest.image_size)


def write_images(path: Path, images: Iterable[NDArray[np.uint8]], shape: Shape) -> None:
    """Write images to an `.npy` file, one after another, atomically.

    Args:
        path: File to write.
        images: N images, uint8 [C, H, W] each.
        shape: Shape (N, C, H, W) of the whole array.

    Raises:
        RunError: The file cannot be written.
    """

    def write(temporary: Path) -> None:
        # Not through a memory map: on a full disk a map kills the process (SIGBUS), a write raises OSError.
        with temporary.open("wb") as stream:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
            for image in images:
                stream.write(image.tobytes())

    receipt_path(path).unlink(missing_ok=True)  # that of an earlier file
    write_atomic(path, write)
    with reading(path):
        receipt = make_receipt(path)
    write_record(receipt_path(path), receipt)


def map_images(path: Path, shape: Shape) -> NDArray[np.uint8]:
    """Return the images in `path` as a memory map, uint8 [N, C, H, W]; all processes of a machine share its pages.

    The map is copy-on-write: PyTorch needs writable memory, and no write may reach the file.

    Args:
        path: The `.npy` file.
        shape: Expected shape.

    Raises:
        RunError: The file is missing, damaged, of another shape, or differs from its receipt.
    """
    try:
        check_receipt(path, read_record(receipt_path(path), FileReceipt), code="data.damaged_cache")
        return map_array(path, np.dtype(np.uint8), shape, code="data.damaged_cache")
    except RunError as error:
        raise RunError(f"{error.args[0]}; {_HINT}", code="data.damaged_cache", field=str(path)) from error


def is_cache_complete(folder: Path, manifest: DataManifest) -> bool:
    """Return whether all of `CACHED_SPLITS` are cached in the run directory `folder`."""
    return all(is_cached(images_path(folder, name), images_shape(manifest, name)) for name in CACHED_SPLITS)


def is_cached(path: Path, shape: Shape) -> bool:
    """Return whether `path` holds undamaged images of shape `shape`."""
    try:
        map_images(path, shape)
    except RunError:
        return False
    return True
