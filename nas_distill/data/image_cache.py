"""The decoded images that a run directory keeps in `images/`: per split one `.npy`, uint8 [N, C, H, W]."""

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
"""From the start; test images once a student is confirmed on them."""

Shape = tuple[int, int, int, int]


def images_path(folder: Path, name: SplitName) -> Path:
    """Returns where the run directory `folder` keeps the images of the split `name`."""
    return RunDirectory(folder).images / f"{name}.npy"


def images_shape(manifest: DataManifest, name: SplitName) -> Shape:
    """Returns N, C, H, W of the split `name`."""
    return (manifest.num_images(name), manifest.channels, manifest.image_size, manifest.image_size)


def write_images(path: Path, images: Iterable[NDArray[np.uint8]], shape: Shape) -> None:
    """Writes images, uint8 [C, H, W] each, to the `.npy` file `path` as they come, atomically."""

    def write(temporary: Path) -> None:
        # In sequence, not through a memory map: on a full disk a map kills the process, a write reports it.
        with temporary.open("wb") as stream:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
            for image in images:
                stream.write(image.tobytes())

    write_atomic(path, write)


def map_images(path: Path, shape: Shape) -> NDArray[np.uint8]:
    """Returns the images in `path` as a memory map: one copy for all processes of a machine.

    The map is copy-on-write: torch takes no read-only memory, and nobody's write may reach the file.

    Raises:
        RunError: The file is missing, damaged or of another shape.
    """
    try:
        images: NDArray[np.uint8] = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise RunError(
            f"{path}: cannot be read ({error}); resume the search, which decodes the images again"
        ) from error
    if images.shape != shape or images.dtype != np.uint8:
        raise RunError(
            f"{path}: holds {images.dtype} {images.shape} and not uint8 {shape}; resume the search, which "
            "decodes the images again"
        )
    return images


def is_cache_complete(folder: Path, manifest: DataManifest) -> bool:
    """Returns whether the images of `manifest` that should be kept are there."""
    return all(is_cached(images_path(folder, name), images_shape(manifest, name)) for name in CACHED_SPLITS)


def is_cached(path: Path, shape: Shape) -> bool:
    """Returns whether `path` holds images of that shape."""
    try:
        map_images(path, shape)
    except RunError:
        return False
    return True
