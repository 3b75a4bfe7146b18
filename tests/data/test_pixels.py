"""Conversion of image modes to 8-bit grey or RGB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from timm.data import create_transform

from nas_distill.config import DataConfig
from nas_distill.data.headers import header_of, read_image_header
from nas_distill.data.pixels import PixelFormat, decode, to_array
from nas_distill.data.sources import ImageSource, open_source
from nas_distill.errors import DataError
from nas_distill.records.resizing import Resizing
from tests.data.files import random_pixels

GREY = PixelFormat(image_size=12, channels=1)
RGB = PixelFormat(image_size=12, channels=3)


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
    header = read_image_header(source, 0)
    assert header.is_grey
    assert header.conversions == {"sixteen_bit"}
    assert np.array_equal(decode(source, 0, GREY)[0], (pixels >> 8).astype(np.uint8))


def test_a_palette_becomes_its_colours(tmp_path: Path) -> None:
    palette = Image.fromarray(random_pixels(0)).quantize(16)
    palette.info["transparency"] = 0
    source = source_of(palette, tmp_path)
    header = read_image_header(source, 0)
    assert not header.is_grey
    assert header.conversions == {"palette", "alpha"}
    assert np.array_equal(decode(source, 0, RGB).transpose(1, 2, 0), np.asarray(palette.convert("RGBA"))[:, :, :3])


def test_transparency_is_dropped_as_by_convert(tmp_path: Path) -> None:
    pixels = random_pixels(0, channels=4)
    source = source_of(Image.fromarray(pixels), tmp_path)
    assert read_image_header(source, 0).conversions == {"alpha"}
    assert np.array_equal(decode(source, 0, RGB), pixels[:, :, :3].transpose(2, 0, 1))


def test_transparency_of_other_kinds_is_found() -> None:
    grey = Image.fromarray(random_pixels(0, channels=1))
    keyed = Image.fromarray(random_pixels(0))
    keyed.info["transparency"] = (1, 2, 3)
    for image in (grey.convert("LA"), keyed):
        assert header_of(image).conversions == {"alpha"}
    assert header_of(grey.convert("LA")).is_grey


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_rotated_as_their_exif_data_say(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    image = Image.fromarray(random_pixels(orientation, 12, 20))
    image.save(tmp_path / "a" / f"0.{suffix}", exif=exif)
    image.save(tmp_path / "b" / f"0.{suffix}", exif=exif)
    source = open_source(DataConfig(source=f"folder:{tmp_path}"))
    with source.open(0) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
    decoded = to_array(source.open(0), PixelFormat(image_size=12, channels=3, resizing=Resizing()))
    size = expected.shape[1::-1]
    header = read_image_header(source, 0)
    assert header.size == size
    assert header.conversions == ({"rotated"} if orientation > 1 else set())
    start = (max(size) - 12) // 2
    centre = expected[:, start : start + 12] if size[0] > size[1] else expected[start : start + 12]
    assert np.array_equal(decoded, centre.transpose(2, 0, 1))


def test_damaged_exif_data_are_ignored(tmp_path: Path) -> None:
    image = Image.fromarray(random_pixels(0))
    image.save(tmp_path / "damaged.jpg", exif=b"Exif\x00\x00MM\x00*\x00\x00\xff\xff")
    image.save(tmp_path / "nonsense.jpg", exif=b"Exif\x00\x00nonsense")
    for path in tmp_path.iterdir():
        with Image.open(path) as opened:
            assert header_of(opened).conversions == set()
            assert np.array_equal(to_array(opened, RGB).transpose(1, 2, 0), np.asarray(Image.open(path)))


def test_cmyk_becomes_rgb_as_by_convert(tmp_path: Path) -> None:
    source = source_of(Image.fromarray(random_pixels(0)).convert("CMYK"), tmp_path, "jpg")
    assert read_image_header(source, 0).conversions == {"cmyk"}
    with source.open(0) as opened:
        expected = np.asarray(opened.convert("RGB"))
    assert np.array_equal(decode(source, 0, RGB).transpose(1, 2, 0), expected)


@pytest.mark.parametrize(("suffix", "kind"), [("png", "PNG"), ("webp", "WEBP"), ("tiff", "TIFF"), ("jpg", "MPO")])
def test_the_first_of_several_frames_is_used(tmp_path: Path, suffix: str, kind: str) -> None:
    first, second = (Image.fromarray(np.full((12, 12, 3), value, dtype=np.uint8)) for value in (40, 200))
    path = tmp_path / f"0.{suffix}"
    first.save(path, format=kind, save_all=True, append_images=[second])
    with Image.open(path) as opened:
        assert header_of(opened).conversions == {"several_frames"}
        assert np.abs(to_array(opened, RGB).astype(int) - 40).max() <= 2


@pytest.mark.parametrize(("ratio", "interpolation"), [(0.875, "bilinear"), (0.95, "bicubic"), (1.0, "lanczos")])
def test_resized_pixels_are_those_of_timm(ratio: float, interpolation: Any) -> None:
    transform = create_transform(
        (3, 32, 32), crop_pct=ratio, interpolation=interpolation, normalize=False, use_prefetcher=True
    )
    resizing = Resizing(crop_ratio=ratio, interpolation=interpolation)
    for height, width in ((60, 81), (81, 60), (37, 38), (64, 64), (20, 90)):
        image = Image.fromarray(random_pixels(0, height, width))
        found = to_array(image, PixelFormat(image_size=32, channels=3, resizing=resizing))
        assert np.array_equal(found, transform(image))


def test_an_image_of_the_right_size_is_not_resized() -> None:
    pixels = random_pixels(0)
    resizing = Resizing(crop_ratio=0.5)
    assert np.array_equal(
        to_array(Image.fromarray(pixels), PixelFormat(image_size=12, channels=3, resizing=resizing)),
        pixels.transpose(2, 0, 1),
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
    assert decode(source, 0, PixelFormat(image_size=7, channels=3, resizing=Resizing())).shape == (3, 7, 7)
