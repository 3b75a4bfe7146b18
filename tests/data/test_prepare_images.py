"""`prepare_data`: images of different sizes, shapes and colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas_distill.callbacks import NullProgress
from nas_distill.data.manifest import ImageConversions
from nas_distill.data.prepare import prepare_data
from nas_distill.errors import DataError, RunError
from nas_distill.records.resizing import NetworkInput, Resizing
from tests.data.files import random_pixels, write_class_folders, write_image
from tests.data.preparing import Recorder, folder_config


def test_images_of_different_sizes_need_a_size(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "data", {"a": 10, "b": 10}, size=12)
    for number in range(10):
        write_image(tmp_path / "data" / "b" / f"{number:03d}.png", random_pixels(number, 10, 12))
    with pytest.raises(DataError) as caught:
        prepare_data(folder_config(tmp_path / "data"), tmp_path / "run", NullProgress())
    assert caught.value.code == "data.size_mismatch"
    assert Path(caught.value.field or "").parent == tmp_path / "data" / "b"
    manifest = prepare_data(folder_config(tmp_path / "data", image_size=8), tmp_path / "run", NullProgress())
    assert (manifest.image_size, manifest.resizing) == (8, Resizing())


def test_an_error_about_sizes_suggests_the_size_of_the_teacher(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "data", {"a": 10, "b": 10}, size=12)
    for number in range(10):
        write_image(tmp_path / "data" / "a" / f"{number:03d}.png", random_pixels(number, 10, 12))
    teacher = NetworkInput(image_size=40, resizing=Resizing())
    with pytest.raises(DataError) as caught:
        prepare_data(folder_config(tmp_path / "data"), tmp_path / "run", NullProgress(), teacher=teacher)
    assert "--image-size 40" in str(caught.value)


def test_images_are_resized_like_those_of_the_teacher_unless_configured(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "data", {"a": 10, "b": 10}, size=12)
    teacher = NetworkInput(image_size=40, resizing=Resizing(crop_ratio=0.5, interpolation="bilinear"))
    config = folder_config(tmp_path / "data", image_size=8)
    own = config.model_copy(update={"crop_ratio": 1.0})
    manifests = [
        prepare_data(settings, tmp_path / str(number), NullProgress(), teacher=network)
        for number, (settings, network) in enumerate(((config, None), (config, teacher), (own, teacher)))
    ]
    assert [manifest.resizing for manifest in manifests] == [
        Resizing(), teacher.resizing, Resizing(crop_ratio=1.0, interpolation="bilinear")
    ]  # fmt: skip
    assert len({manifest.data_id for manifest in manifests}) == 3
    assert prepare_data(config, tmp_path / "1", NullProgress()) == manifests[1]
    for name, value in (("crop_ratio", 0.9), ("interpolation", "lanczos")):
        with pytest.raises(RunError) as caught:
            prepare_data(config.model_copy(update={name: value}), tmp_path / "1", NullProgress())
        assert (caught.value.code, caught.value.field) == ("data.changed", f"data.{name}")
    same_size = config.model_copy(update={"image_size": None})
    assert prepare_data(same_size, tmp_path / "same", NullProgress(), teacher=teacher).resizing is None


def test_conversions_are_counted(tmp_path: Path) -> None:
    for split, count in (("train", 6), ("val", 2), ("test", 2)):
        write_class_folders(tmp_path / "data" / split, {"a": count, "b": count}, size=12)
    train = tmp_path / "data" / "train"
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(random_pixels(0, 12, 20))
    for number in range(2):
        image.save(train / "a" / f"{number:03d}.png", exif=exif)
    image.convert("CMYK").save(tmp_path / "data" / "val" / "a" / "cmyk.jpg")
    image.convert("RGBA").crop((0, 0, 7, 7)).save(train / "b" / "000.png")
    recorder = Recorder()
    config = folder_config(tmp_path / "data", image_size=12, channels=3)
    manifest = prepare_data(config, tmp_path / "run", recorder)
    expected = ImageConversions(rotated=2, cmyk=1, alpha=1, not_square=3, enlarged=1)
    assert manifest.conversions == expected
    assert expected.sentence() in recorder.events[0][1]
    assert ImageConversions().sentence() == ""


def test_rectangular_images_need_a_size(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(10):
            write_image(tmp_path / "data" / name / f"{number}.png", random_pixels(number, 10, 20))
    with pytest.raises(DataError) as caught:
        prepare_data(folder_config(tmp_path / "data"), tmp_path / "run", NullProgress())
    assert caught.value.code == "data.not_square"


def test_one_rgb_image_makes_all_images_rgb(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "data" / "train", {"a": 10, "b": 10}, channels=1)
    write_class_folders(tmp_path / "data" / "val", {"a": 2, "b": 2}, channels=1)
    config = folder_config(tmp_path / "data")
    assert prepare_data(config, tmp_path / "grey", NullProgress()).channels == 1
    write_image(tmp_path / "data" / "val" / "b" / "001.png", random_pixels(3))
    assert prepare_data(config, tmp_path / "colour", NullProgress()).channels == 3
    grey = config.model_copy(update={"channels": 1})
    assert prepare_data(grey, tmp_path / "converted", NullProgress()).channels == 1


def test_resizing_keeps_the_centre_of_a_rectangular_image(tmp_path: Path) -> None:
    pixels = np.zeros((16, 48), dtype=np.uint8)
    pixels[:, 16:32] = 200
    for name in ("a", "b"):
        for number in range(10):
            write_image(tmp_path / "data" / name / f"{number}.png", pixels)
    config = folder_config(tmp_path / "data", image_size=8)
    prepare_data(config, tmp_path / "run", NullProgress())
    images = np.load(tmp_path / "run" / "images" / "train.npy", allow_pickle=False)
    expected = np.asarray(Image.fromarray(pixels).resize((24, 8), Image.Resampling.BICUBIC))[:, 8:16]
    assert np.array_equal(images, np.broadcast_to(expected, images.shape))
    assert images.mean() > 190
