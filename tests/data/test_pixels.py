"""Conversion of image modes to 8-bit grey or RGB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas_distill.config import DataConfig
from nas_distill.data.pixels import PixelFormat, decode, read_image_header
from nas_distill.data.sources import ImageSource, open_source
from nas_distill.errors import DataError
from tests.data.files import random_pixels

GREY = PixelFormat(image_size=12, channels=1, resize=False)
RGB = PixelFormat(image_size=12, channels=3, resize=False)


def source_of(image: Image.Image, tmp_path: Path, suffix: str = "png") -> ImageSource:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / f"0.{suffix}")
    return open_source(DataConfig(source=f"folder:{tmp_path}"))


def test_rgb_pixels_are_unchanged(tmp_path: Path) -> None:
    pixels = random_pixels(0)
    decoded = decode(source_of(Image.fromarray(pixels), tmp_path), 0, RGB)
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, pixels.transpose(2, 0, 1))
    assert decoded.flags.c_contiguous


def test_grey_is_repeated_to_make_rgb(tmp_path: Path) -> None:
    pixels = random_pixels(0, channels=1)
    source = source_of(Image.fromarray(pixels), tmp_path)
    assert read_image_header(source, 0).is_grey
    assert np.array_equal(decode(source, 0, GREY), pixels[None])
    assert np.array_equal(decode(source, 0, RGB), np.stack([pixels] * 3))


def test_sixteen_bits_keep_their_high_byte(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 2**16, size=(12, 12), dtype=np.uint16)
    source = source_of(Image.fromarray(pixels), tmp_path)
    assert read_image_header(source, 0).is_grey
    assert np.array_equal(decode(source, 0, GREY)[0], (pixels >> 8).astype(np.uint8))


def test_a_palette_becomes_its_colours(tmp_path: Path) -> None:
    palette = Image.fromarray(random_pixels(0)).quantize(16)
    palette.info["transparency"] = 0
    source = source_of(palette, tmp_path)
    assert not read_image_header(source, 0).is_grey
    assert np.array_equal(decode(source, 0, RGB).transpose(1, 2, 0), np.asarray(palette.convert("RGBA"))[:, :, :3])


def test_transparency_is_dropped(tmp_path: Path) -> None:
    pixels = random_pixels(0, channels=4)
    assert np.array_equal(
        decode(source_of(Image.fromarray(pixels), tmp_path), 0, RGB), pixels[:, :, :3].transpose(2, 0, 1)
    )


def test_pixels_without_a_fixed_range_are_rejected(tmp_path: Path) -> None:
    source = source_of(Image.fromarray(np.ones((12, 12), dtype=np.float32)), tmp_path, "tiff")
    with pytest.raises(DataError) as caught:
        decode(source, 0, GREY)
    assert (caught.value.code, caught.value.field) == ("data.unsupported_pixels", str(tmp_path / "a" / "0.tiff"))


def test_another_size_is_rejected_unless_images_are_resized(tmp_path: Path) -> None:
    source = source_of(Image.fromarray(random_pixels(0, 10, 14)), tmp_path)
    with pytest.raises(DataError) as caught:
        decode(source, 0, RGB)
    assert (caught.value.code, caught.value.field) == ("data.size_mismatch", str(tmp_path / "a" / "0.png"))
    assert decode(source, 0, PixelFormat(image_size=7, channels=3, resize=True)).shape == (3, 7, 7)
