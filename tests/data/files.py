"""Writes small real data sets to disk: image folders and MNIST's idx files."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def random_pixels(seed: int, height: int = 12, width: int = 12, channels: int = 3) -> NDArray[np.uint8]:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)


def write_image(path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_class_folders(
    root: Path, counts: Mapping[str, int], *, size: int = 12, channels: int = 3, seed: int = 0
) -> None:
    """Writes `counts[name]` random PNG images into `root/name/`."""
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = random_pixels(seed + 1000 * label + number, size, size, channels)
            write_image(root / name / f"{number:03d}.png", pixels)


def write_mnist(root: Path, *, train: int, test: int) -> dict[str, NDArray[np.uint8]]:
    """Writes MNIST's four idx files where torchvision looks for them; returns the images by split."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    written: dict[str, NDArray[np.uint8]] = {}
    for split, prefix, count in (("train", "train", train), ("test", "t10k", test)):
        images = np.random.default_rng(count).integers(0, 256, size=(count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        header = struct.pack(">iiii", 0x803, count, 28, 28)
        _write_both(folder / f"{prefix}-images-idx3-ubyte", header + images.tobytes())
        _write_both(folder / f"{prefix}-labels-idx1-ubyte", struct.pack(">ii", 0x801, count) + labels.tobytes())
        written[split] = images
    return written


def _write_both(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with gzip.open(f"{path}.gz", "wb") as stream:
        stream.write(content)


def png_with_size(width: int, height: int) -> bytes:
    """Return a small PNG file whose header claims this size."""
    stream = io.BytesIO()
    Image.new("L", (1, 1)).save(stream, "PNG")
    content = bytearray(stream.getvalue())
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


def tiff_with_floats() -> bytes:
    """Return a TIFF file with 32-bit pixels."""
    stream = io.BytesIO()
    Image.new("F", (8, 8)).save(stream, "TIFF")
    return stream.getvalue()
