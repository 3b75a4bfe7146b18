"""`open_split` yields the same batches from cached and decoded images, in any order and batch size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas_distill.callbacks import NullProgress
from nas_distill.config import DataConfig
from nas_distill.data.prepare import prepare_data
from nas_distill.data.splits import DecodedSplit, ImageBatch, ImageSplit, MemorySplit, open_split
from nas_distill.errors import DataError, RunError
from tests.data.files import random_pixels, write_class_folders, write_image

CPU = torch.device("cpu")
SIZE = 160


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_class_folders(root, {"a": 20, "b": 20}, size=SIZE)
    return root


def config_for(folder: Path, **changes: Any) -> DataConfig:
    return DataConfig(source=f"folder:{folder}", **changes)


def collect(split: ImageSplit, order: torch.Tensor, batch_size: int, device: torch.device = CPU) -> ImageBatch:
    batches = list(split.batches(order, batch_size, device=device))
    assert [len(batch.labels) for batch in batches] == [len(part) for part in torch.split(order, batch_size)]
    return ImageBatch(*(torch.cat(parts) for parts in zip(*batches, strict=True)))


@pytest.fixture
def images_cached(folder: Path, tmp_path: Path) -> ImageSplit:
    config = config_for(folder)
    prepare_data(config, tmp_path / "memory", NullProgress())
    return open_split(config, tmp_path / "memory", "train")


def decoded_split(folder: Path, run: Path, workers: int) -> ImageSplit:
    config = config_for(folder, memory_budget_mib=1, workers=workers)
    prepare_data(config, run, NullProgress())
    return open_split(config, run, "train")


def test_a_split_knows_its_size_and_labels(images_cached: ImageSplit) -> None:
    assert isinstance(images_cached, MemorySplit)
    assert images_cached.num_images == images_cached.manifest.num_train == len(images_cached.labels)
    assert images_cached.labels.dtype == torch.int64


@pytest.mark.parametrize("workers", [0, 2])
def test_cached_and_decoded_images_give_the_same_batches(
    folder: Path, tmp_path: Path, images_cached: ImageSplit, workers: int
) -> None:
    decoded = decoded_split(folder, tmp_path / "decoded", workers)
    assert isinstance(decoded, DecodedSplit)
    order = torch.randperm(decoded.num_images, generator=torch.Generator().manual_seed(0))
    for part in (order, order[:7], torch.tensor([3, 3, 0])):
        expected, found = collect(images_cached, part, 4), collect(decoded, part, 4)
        assert torch.equal(found.indices, part)
        assert found.images.dtype == torch.uint8
        assert found.images.shape == (len(part), 3, SIZE, SIZE)
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one, other)
        assert torch.equal(found.labels, decoded.labels[part])


def test_an_empty_order_yields_no_batch(folder: Path, tmp_path: Path, images_cached: ImageSplit) -> None:
    for split in (images_cached, decoded_split(folder, tmp_path / "decoded", 0)):
        assert not list(split.batches(torch.empty(0, dtype=torch.int64), 4, device=CPU))


def test_a_pass_that_was_left_does_not_disturb_the_next(folder: Path, tmp_path: Path) -> None:
    split = decoded_split(folder, tmp_path / "run", workers=2)
    order = torch.arange(split.num_images)
    left = split.batches(order, 2, device=CPU)
    next(left)
    left.close()  # type: ignore[attr-defined]
    found = collect(split, order.flip(0), 3)
    assert torch.equal(found.indices, order.flip(0))
    assert torch.equal(found.labels, split.labels.flip(0))


def test_a_pass_inside_a_pass(folder: Path, tmp_path: Path) -> None:
    split = decoded_split(folder, tmp_path / "run", workers=1)
    order = torch.arange(split.num_images)
    control = collect(split, order, 4)
    seen = []
    for batch in split.batches(order, 4, device=CPU):
        inner = collect(split, order[:5], 2)
        assert torch.equal(inner.images, control.images[:5])
        seen.append(batch.images)
    assert torch.equal(torch.cat(seen), control.images)


def test_test_images_are_decoded_from_the_source(folder: Path, tmp_path: Path) -> None:
    config = config_for(folder)
    manifest = prepare_data(config, tmp_path, NullProgress())
    split = open_split(config, tmp_path, "test")
    assert isinstance(split, DecodedSplit)
    found = collect(split, torch.arange(split.num_images), 3)
    assert len(found.labels) == manifest.num_test
    with np.load(tmp_path / "split.npz") as stored:
        first = int(stored["test"][0])
    assert np.array_equal(found.images[0].numpy().transpose(1, 2, 0), random_pixels(first, SIZE, SIZE))


def test_cached_images_need_no_source(folder: Path, tmp_path: Path) -> None:
    prepare_data(config_for(folder), tmp_path, NullProgress())
    gone = config_for(folder / "nowhere")
    assert open_split(gone, tmp_path, "validation").num_images == 7
    with pytest.raises(DataError) as caught:
        open_split(gone, tmp_path, "test")
    assert caught.value.code == "data.no_folder"


def test_writing_into_a_batch_changes_neither_the_file_nor_other_readers(folder: Path, tmp_path: Path) -> None:
    config = config_for(folder)
    prepare_data(config, tmp_path, NullProgress())
    split, other = (open_split(config, tmp_path, "train") for _ in range(2))
    before = collect(other, torch.arange(5), 5).images.clone()
    (batch,) = split.batches(torch.arange(5), 5, device=CPU)
    batch.images.zero_()
    assert torch.equal(collect(split, torch.arange(5), 5).images, before)
    assert torch.equal(collect(other, torch.arange(5), 5).images, before)


@pytest.mark.parametrize("workers", [0, 1])
def test_reading_does_not_advance_the_global_random_generator(folder: Path, tmp_path: Path, workers: int) -> None:
    split = decoded_split(folder, tmp_path / "run", workers)
    torch.manual_seed(3)
    expected = torch.rand(2).tolist()
    for _ in range(2):  # the workers of the second pass are those of the first
        torch.manual_seed(3)
        first = torch.rand(1).item()
        collect(split, torch.arange(split.num_images), 16)
        assert [first, torch.rand(1).item()] == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_names_an_image_damaged_after_preparation(tmp_path: Path, workers: int) -> None:
    write_class_folders(tmp_path / "data", {"a": 20, "b": 20}, size=SIZE)
    split = decoded_split(tmp_path / "data", tmp_path / "run", workers)
    for path in (tmp_path / "data").rglob("*.png"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError) as caught:
        collect(split, torch.arange(split.num_images), 4)
    assert caught.value.code == "data.unreadable_image"
    assert Path(caught.value.field or "").parent.parent == tmp_path / "data"
    assert "\n" not in str(caught.value)


def test_a_changed_source_is_rejected(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "data", {"a": 20, "b": 20}, size=SIZE)
    decoded_split(tmp_path / "data", tmp_path / "run", 0)
    write_image(tmp_path / "data" / "a" / "new.png", random_pixels(0, SIZE, SIZE))
    with pytest.raises(RunError) as caught:
        open_split(config_for(tmp_path / "data", memory_budget_mib=1), tmp_path / "run", "train")
    assert (caught.value.code, caught.value.field) == ("data.changed", "data.source")


def test_a_folder_that_was_not_prepared_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        open_split(DataConfig(), tmp_path, "train")
    assert str(tmp_path / "data.json") in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00 truncated"])
def test_a_damaged_cache_is_rejected(tmp_path: Path, content: bytes) -> None:
    prepare_data(DataConfig(), tmp_path, NullProgress())
    (tmp_path / "images" / "train.npy").write_bytes(content)
    with pytest.raises(RunError) as caught:
        open_split(DataConfig(), tmp_path, "train")
    assert (caught.value.code, caught.value.field) == ("data.damaged_cache", str(tmp_path / "images" / "train.npy"))


def test_cached_images_of_another_shape_are_rejected(tmp_path: Path) -> None:
    prepare_data(DataConfig(), tmp_path, NullProgress())
    np.save(tmp_path / "images" / "train.npy", np.zeros((3, 1, 8, 8), dtype=np.uint8))
    with pytest.raises(RunError) as caught:
        open_split(DataConfig(), tmp_path, "train")
    assert (caught.value.code, caught.value.field) == ("data.damaged_cache", str(tmp_path / "images" / "train.npy"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_arrive_on_the_device(folder: Path, tmp_path: Path, images_cached: ImageSplit, workers: int) -> None:
    device = torch.device("cuda", 0)
    order = torch.arange(images_cached.num_images).flip(0)
    expected = collect(images_cached, order, 4)
    for split in (images_cached, decoded_split(folder, tmp_path / "decoded", workers)):
        for found, wanted in zip(collect(split, order, 4, device), expected, strict=True):
            assert found.device == device
            assert torch.equal(found.cpu(), wanted)
