"""`folder:PATH`: supported layouts, and the error of each unsupported one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from nas_distill.config import DataConfig
from nas_distill.data.sources import ImageSource, open_source
from nas_distill.errors import DataError
from tests.data.files import random_pixels, write_class_folders, write_image


def opened(root: Path) -> ImageSource:
    return open_source(DataConfig(source=f"folder:{root}"))


def test_class_folders(tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"dog": 2, "cat": 3})
    source = opened(tmp_path)
    assert source.class_names == ("cat", "dog")
    assert source.labels.tolist() == [0, 0, 0, 1, 1]
    assert source.native_splits == {"train": range(5)}
    assert source.name(3) == str(tmp_path / "dog" / "000.png")
    assert np.array_equal(np.asarray(source.open(3)), random_pixels(0))


@pytest.mark.parametrize("validation", ["val", "validation", "valid"])
def test_split_folders(tmp_path: Path, validation: str) -> None:
    for split, count in (("train", 4), (validation, 2), ("test", 1)):
        write_class_folders(tmp_path / split, {"cat": count, "dog": count})
    source = opened(tmp_path)
    assert source.native_splits == {"train": range(8), "validation": range(8, 12), "test": range(12, 14)}
    assert source.labels[8:].tolist() == [0, 0, 1, 1, 0, 1]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"car": 2, "train": 2})
    assert opened(tmp_path).class_names == ("car", "train")


def test_subfolders_of_a_class_are_searched_and_hidden_ones_are_not(tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"cat": 1, "dog": 1})
    write_image(tmp_path / "cat" / "indoors" / "a.PNG", random_pixels(1))
    write_image(tmp_path / "cat" / ".thumbnails" / "a.png", random_pixels(1))
    (tmp_path / ".cache").mkdir()
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    source = opened(tmp_path)
    assert [Path(source.name(i)).name for i in range(3)] == ["000.png", "a.PNG", "000.png"]


def test_links_to_class_folders_are_followed(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "elsewhere", {"cat": 2, "dog": 2})
    (tmp_path / "here").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "here" / name).symlink_to(tmp_path / "elsewhere" / name)
    assert len(opened(tmp_path / "here").labels) == 4


def test_the_content_id_changes_with_the_images_and_not_with_their_location(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "one", {"cat": 2, "dog": 2})
    content_id = opened(tmp_path / "one").content_id
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert opened(tmp_path / "two").content_id == content_id
    write_image(tmp_path / "two" / "cat" / "001.png", random_pixels(9, 20, 20))
    assert opened(tmp_path / "two").content_id != content_id
    shutil.move(tmp_path / "one" / "cat" / "001.png", tmp_path / "one" / "dog" / "002.png")
    assert opened(tmp_path / "one").content_id != content_id


def rejected(root: Path) -> tuple[str, str | None]:
    """Return code and field of the error that `root` causes."""
    with pytest.raises(DataError) as caught:
        opened(root)
    return caught.value.code, caught.value.field


def test_a_missing_folder(tmp_path: Path) -> None:
    assert rejected(tmp_path / "nowhere") == ("data.no_folder", "data.source")


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("")
    assert rejected(tmp_path / "images") == ("data.no_folder", "data.source")


def test_an_empty_folder(tmp_path: Path) -> None:
    assert rejected(tmp_path) == ("data.no_class_folders", "data.source")


def test_images_without_class_folders(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", random_pixels(0))
    assert rejected(tmp_path) == ("data.no_class_folders", "data.source")


def test_a_single_class(tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"cat": 5})
    assert rejected(tmp_path) == ("data.single_class", "data.source")


def test_a_class_without_images(tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"cat": 5, "dog": 0})
    assert rejected(tmp_path) == ("data.class_without_images", str(tmp_path / "dog"))


def test_validation_classes_that_differ_from_the_training_classes(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", {"cat": 2, "dog": 2})
    write_class_folders(tmp_path / "val", {"cat": 2, "fox": 2})
    assert rejected(tmp_path) == ("data.classes_differ_between_splits", str(tmp_path / "val"))


def test_validation_without_training(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "val", {"cat": 2, "dog": 2})
    assert rejected(tmp_path) == ("data.no_train_folder", str(tmp_path))


def test_two_validation_folders(tmp_path: Path) -> None:
    for split in ("train", "val", "validation"):
        write_class_folders(tmp_path / split, {"cat": 2, "dog": 2})
    assert rejected(tmp_path) == ("data.ambiguous_split_folders", str(tmp_path))


def test_validation_folders_without_images(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", {"cat": 2, "dog": 2})
    write_class_folders(tmp_path / "val", {"cat": 0, "dog": 0})
    assert rejected(tmp_path) == ("data.split_without_images", str(tmp_path / "val"))


def test_a_dangling_link(tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"cat": 2, "dog": 2})
    (tmp_path / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert rejected(tmp_path) == ("data.unreadable_folder", str(tmp_path / "cat" / "gone.png"))
