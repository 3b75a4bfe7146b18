"""`prepare_data`: files that it writes, reuses and writes again, and input that it rejects."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from nas_distill.callbacks import NullProgress
from nas_distill.config import DataConfig
from nas_distill.data.manifest import DataManifest
from nas_distill.data.prepare import prepare_data
from nas_distill.errors import DataError, RunError
from nas_distill.run_directory.files import read_record
from nas_distill.run_directory.layout import RunDirectory
from tests.data.files import png_with_size, tiff_with_floats, write_class_folders, write_image
from tests.data.preparing import Recorder, folder_config


def files_below(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_ino)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_digits(tmp_path: Path) -> None:
    recorder = Recorder()
    manifest = prepare_data(DataConfig(), tmp_path, recorder)
    assert set(files_below(tmp_path)) == {
        "data.json",
        "split.npz",
        "images/train.npy",
        "images/train.json",
        "images/validation.npy",
        "images/validation.json",
    }
    assert read_record(RunDirectory(tmp_path).data_manifest, DataManifest) == manifest
    assert manifest.class_names == tuple("0123456789")
    assert (manifest.image_size, manifest.channels, manifest.images_cached) == (8, 1, True)
    assert manifest.num_train + manifest.num_validation + manifest.num_test == 1797
    images = np.load(tmp_path / "images" / "train.npy", allow_pickle=False)
    with np.load(tmp_path / "split.npz", allow_pickle=False) as split:
        expected = np.rint(load_digits().images[split["train"]] / 16 * 255).astype(np.uint8)
        assert np.array_equal(split["train_labels"], load_digits().target[split["train"]])
    assert np.array_equal(images, expected[:, None])
    assert manifest.mean == pytest.approx([images.mean() / 255])
    assert manifest.std == pytest.approx([images.std() / 255])
    assert [kind for kind, _ in recorder.events] == ["data"]
    assert ("decoding train images", manifest.num_train, manifest.num_train) in recorder.steps


def test_statistics_per_channel(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "data", {"a": 20, "b": 20})
    manifest = prepare_data(folder_config(tmp_path / "data"), tmp_path / "run", NullProgress())
    images = np.load(tmp_path / "run" / "images" / "train.npy", allow_pickle=False) / 255.0
    assert manifest.mean == pytest.approx(images.mean(axis=(0, 2, 3)))
    assert manifest.std == pytest.approx(images.std(axis=(0, 2, 3)))


def test_a_constant_channel_has_a_positive_std(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(10):
            write_image(tmp_path / "data" / name / f"{number}.png", np.zeros((8, 8), dtype=np.uint8))
    manifest = prepare_data(folder_config(tmp_path / "data"), tmp_path / "run", NullProgress())
    assert manifest.std == (1 / 255,)


def test_preparing_twice_writes_nothing(tmp_path: Path) -> None:
    manifest = prepare_data(DataConfig(), tmp_path, NullProgress())
    before = files_below(tmp_path)
    recorder = Recorder()
    assert prepare_data(DataConfig(), tmp_path, recorder) == manifest
    assert files_below(tmp_path) == before
    assert not recorder.steps


def test_preparing_the_same_data_gives_identical_files(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "data", {"a": 20, "b": 20})
    config = folder_config(tmp_path / "data")
    first = prepare_data(config, tmp_path / "one", NullProgress())
    assert prepare_data(config, tmp_path / "two", NullProgress()) == first
    for name in ("images/train.npy", "images/validation.npy", "data.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("lost", ["images/train.npy", "images/validation.npy", "split.npz", "data.json"])
def test_a_missing_file_is_written_again(tmp_path: Path, lost: str) -> None:
    manifest = prepare_data(DataConfig(), tmp_path, NullProgress())
    images = (tmp_path / "images" / "train.npy").read_bytes()
    with np.load(tmp_path / "split.npz") as split:
        train = split["train"]
    (tmp_path / lost).unlink()
    assert prepare_data(DataConfig(), tmp_path, NullProgress()) == manifest
    assert (tmp_path / "images" / "train.npy").read_bytes() == images
    with np.load(tmp_path / "split.npz") as split:
        assert np.array_equal(split["train"], train)


def test_truncated_images_are_written_again(tmp_path: Path) -> None:
    prepare_data(DataConfig(), tmp_path, NullProgress())
    path = tmp_path / "images" / "train.npy"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    prepare_data(DataConfig(), tmp_path, NullProgress())
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("field", "value"),
    [("validation_fraction", 0.3), ("test_fraction", 0.3), ("split_seed", 1), ("max_train_images", 100),
     ("max_validation_images", 100), ("image_size", 16), ("channels", 3)],
)  # fmt: skip
def test_other_settings_in_a_prepared_folder_are_rejected(tmp_path: Path, field: str, value: float) -> None:
    prepare_data(DataConfig(), tmp_path, NullProgress())
    with pytest.raises(RunError) as caught:
        prepare_data(DataConfig.model_validate({field: value}), tmp_path, NullProgress())
    assert (caught.value.code, caught.value.field) == ("data.changed", f"data.{field}")


def test_changed_images_in_a_prepared_folder_are_rejected(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "data", {"a": 10, "b": 10})
    prepare_data(folder_config(tmp_path / "data"), tmp_path / "run", NullProgress())
    (tmp_path / "data" / "a" / "000.png").unlink()
    with pytest.raises(RunError) as caught:
        prepare_data(folder_config(tmp_path / "data"), tmp_path / "run", NullProgress())
    assert (caught.value.code, caught.value.field) == ("data.changed", "data.source")


def test_other_classes_in_a_prepared_folder_are_rejected(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "data", {"a": 10, "b": 10})
    prepare_data(DataConfig(), tmp_path / "run", NullProgress())
    with pytest.raises(RunError) as caught:
        prepare_data(folder_config(tmp_path / "data"), tmp_path / "run", NullProgress())
    assert (caught.value.code, caught.value.field) == ("data.changed", "data.source")


def test_an_edited_split_file_is_rejected(tmp_path: Path) -> None:
    prepare_data(DataConfig(), tmp_path, NullProgress())
    with np.load(tmp_path / "split.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays["train"][0], arrays["test"][0] = arrays["test"][0], arrays["train"][0]
    np.savez(tmp_path / "split.npz", allow_pickle=False, **arrays)
    with pytest.raises(RunError) as caught:
        prepare_data(DataConfig(), tmp_path, NullProgress())
    assert (caught.value.code, caught.value.field) == ("data.changed", str(tmp_path / "split.npz"))


def test_a_manifest_of_another_version_is_rejected(tmp_path: Path) -> None:
    prepare_data(DataConfig(), tmp_path, NullProgress())
    path = tmp_path / "data.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 2}))
    with pytest.raises(RunError) as caught:
        prepare_data(DataConfig(), tmp_path, NullProgress())
    assert str(path) in str(caught.value)


def test_images_over_the_memory_budget_are_not_cached(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "data", {"a": 10, "b": 10}, size=300)
    config = folder_config(tmp_path / "data", memory_budget_mib=1)
    manifest = prepare_data(config, tmp_path / "run", NullProgress())
    assert not manifest.images_cached
    assert set(files_below(tmp_path / "run")) == {"data.json", "split.npz"}
    cached = prepare_data(config.model_copy(update={"memory_budget_mib": 100}), tmp_path / "cached", NullProgress())
    assert cached.images_cached
    assert (cached.mean, cached.std, cached.data_id) == (manifest.mean, manifest.std, manifest.data_id)


def _damaged_data(folder: Path) -> dict[str, str]:
    """Write images of which some cannot be used; return the code of each error by name of the file."""
    write_class_folders(folder / "train", {"a": 12, "b": 12})
    write_class_folders(folder / "test", {"a": 3, "b": 3})
    whole = (folder / "train" / "a" / "000.png").read_bytes()
    bad = {
        "train/a/100.png": whole[:150],
        "train/b/100.png": b"",
        "test/a/100.png": whole[: len(whole) // 2],
        "test/b/100.tif": tiff_with_floats(),
        "test/b/101.png": png_with_size(100_000, 100_000),
    }
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    os.mkfifo(folder / "train" / "b" / "102.png")
    codes = dict.fromkeys((*bad, "train/b/102.png"), "data.unreadable_image")
    return codes | {"test/b/100.tif": "data.unsupported_pixels", "test/b/101.png": "data.too_many_pixels"}


def test_all_bad_images_are_listed_before_the_search(tmp_path: Path) -> None:
    expected = _damaged_data(tmp_path / "data")
    with pytest.raises(DataError) as caught:
        prepare_data(folder_config(tmp_path / "data", image_size=8), tmp_path / "run", NullProgress())
    listed = (caught.value, *caught.value.others)
    assert {str(one.field): one.code for one in listed if isinstance(one, DataError)} == {
        str(tmp_path / "data" / name): code for name, code in expected.items()
    }
    assert not (tmp_path / "run" / "data.json").exists()


@pytest.mark.parametrize("memory_budget_mib", [None, 1])
def test_bad_images_are_skipped_and_counted(tmp_path: Path, memory_budget_mib: int | None) -> None:
    bad = _damaged_data(tmp_path / "data")
    recorder = Recorder()
    size = 300 if memory_budget_mib else 8
    config = folder_config(tmp_path / "data", image_size=size, bad_images="skip", memory_budget_mib=memory_budget_mib)
    manifest = prepare_data(config, tmp_path / "run", recorder)
    assert (len(manifest.skipped), manifest.num_test) == (len(bad), 6)
    assert manifest.num_train + manifest.num_validation == 24
    assert prepare_data(config, tmp_path / "run", NullProgress()) == manifest
    (tmp_path / "run" / "split.npz").unlink()
    assert prepare_data(config, tmp_path / "run", NullProgress()) == manifest


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "data", {"a": 10, "b": 10})
    name = os.fsdecode(b"\xff.png")
    (tmp_path / "data" / "a" / "000.png").rename(tmp_path / "data" / "a" / name)
    manifest = prepare_data(folder_config(tmp_path / "data"), tmp_path / "run", NullProgress())
    assert manifest.num_train + manifest.num_validation + manifest.num_test == 20
    (tmp_path / "data" / "b").rename(tmp_path / "data" / os.fsdecode(b"b\xff"))
    with pytest.raises(DataError) as caught:
        prepare_data(folder_config(tmp_path / "data"), tmp_path / "other", NullProgress())
    assert caught.value.code == "data.class_name"


@pytest.mark.parametrize("damage", [b"", b"damaged", None])
def test_damaged_files_of_a_prepared_folder_are_written_again(tmp_path: Path, damage: bytes | None) -> None:
    manifest = prepare_data(DataConfig(), tmp_path, NullProgress())
    before = {name: (tmp_path / name).read_bytes() for name in ("images/train.npy", "split.npz")}
    for name, content in before.items():
        (tmp_path / name).write_bytes(
            content[: len(content) // 2] + bytes(len(content) // 2) if damage is None else damage
        )
    assert prepare_data(DataConfig(), tmp_path, NullProgress()) == manifest
    assert (tmp_path / "images" / "train.npy").read_bytes() == before["images/train.npy"]


@pytest.mark.parametrize("image_size", [None, 8])
@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_an_error_names_a_damaged_image(tmp_path: Path, damage: str, image_size: int | None) -> None:
    write_class_folders(tmp_path / "data" / "train", {"a": 10, "b": 10})
    write_class_folders(tmp_path / "data" / "val", {"a": 2, "b": 2})
    path = tmp_path / "data" / "train" / "a" / "000.png"
    content = {"truncated": path.read_bytes()[:200], "garbage": os.urandom(100), "empty": b""}[damage]
    path.write_bytes(content)
    config = folder_config(tmp_path / "data", image_size=image_size, test_fraction=0.1)
    with pytest.raises(DataError) as caught:
        prepare_data(config, tmp_path / "run", NullProgress())
    assert (caught.value.code, caught.value.field) == ("data.unreadable_image", str(path))
    assert not (tmp_path / "run" / "data.json").exists()


def test_the_data_id_depends_on_splits_and_shapes(tmp_path: Path) -> None:
    variants: tuple[dict[str, Any], ...] = (
        {},
        {"split_seed": 1},
        {"max_train_images": 500},
        {"image_size": 16},
        {"channels": 3},
    )
    manifests = [
        prepare_data(DataConfig.model_validate(variant), tmp_path / str(number), NullProgress())
        for number, variant in enumerate(variants)
    ]
    assert len({manifest.data_id for manifest in manifests}) == len(variants)
    assert len({manifest.content_id for manifest in manifests}) == 1
