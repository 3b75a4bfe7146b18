"""The decoded-image cache of a run directory: `images/SPLIT.npy`, uint8 [N, C, H, W]."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas_distill.data.manifest import DataManifest, SplitName
from nas_distill.errors import RunError
from nas_distill.run_directory.files import write_atomic
from nas_distill.run_directory.layout import RunDirectory

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

    write_atomic(path, write)


def map_images(path: Path, shape: Shape) -> NDArray[np.uint8]:
    """Return the images in `path` as a memory map, uint8 [N, C, H, W]; all processes of a machine share its pages.

    The map is copy-on-write: PyTorch needs writable memory, and no write may reach the file.

    Args:
        path: The `.npy` file.
        shape: Expected shape.

    Raises:
        RunError: The file is missing, damaged or of another shape.
    """
    try:
        images: NDArray[np.uint8] = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise RunError(f"cannot be read ({error}); {_HINT}", code="data.damaged_cache", field=str(path)) from error
    if images.shape != shape or images.dtype != np.uint8:
        raise RunError(
            f"holds {images.dtype} {images.shape} instead of uint8 {shape}; {_HINT}",
            code="data.damaged_cache",
            field=str(path),
        )
    return images


def is_cache_complete(folder: Path, manifest: DataManifest) -> bool:
    """Return whether all of `CACHED_SPLITS` are cached in the run directory `folder`."""
    return all(is_cached(images_path(folder, name), images_shape(manifest, name)) for name in CACHED_SPLITS)


def is_cached(path: Path, shape: Shape) -> bool:
    """Return whether `path` holds images of shape `shape`."""
    try:
        map_images(path, shape)
    except RunError:
        return False
    return True
