"""timm's data set names: torchvision's MNIST from idx files, Hugging Face `datasets` from a local folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nas_distill.callbacks import NullProgress
from nas_distill.config import DataConfig
from nas_distill.data.prepare import prepare_data
from nas_distill.data.sources import open_source
from nas_distill.data.splits import open_split
from nas_distill.errors import DataError
from tests.data.files import random_pixels, write_class_folders, write_mnist

CPU = torch.device("cpu")


def test_mnist_keeps_its_test_images_apart(tmp_path: Path) -> None:
    pixels = write_mnist(tmp_path / "root", train=120, test=40)
    config = DataConfig(source="torch/mnist", root=str(tmp_path / "root"))
    manifest = prepare_data(config, tmp_path / "run", NullProgress())
    assert (manifest.num_train, manifest.num_validation, manifest.num_test) == (96, 24, 40)
    assert (manifest.image_size, manifest.channels, manifest.num_classes) == (28, 1, 10)
    assert manifest.class_names[0] == "0 - zero"
    test = open_split(config, tmp_path / "run", "test")
    (batch,) = test.batches(torch.arange(40), 64, device=CPU)
    assert np.array_equal(batch.images[:, 0].numpy(), pixels["test"])
    assert batch.labels.tolist() == [n % 10 for n in range(40)]


def test_missing_files_are_reported_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'torch/mnist' cannot be opened: Dataset not found.*data\.download=true"):
        open_source(DataConfig(source="torch/mnist", root=str(tmp_path)))


def test_a_root_is_needed() -> None:
    with pytest.raises(DataError, match=r"data\.root: is not given.*--data-root"):
        open_source(DataConfig(source="torch/cifar10"))


def test_an_unknown_torchvision_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'torch/cifar1000' is no data set of timm's torch/; .*cifar100"):
        open_source(DataConfig(source="torch/cifar1000", root=str(tmp_path)))


def test_torchvisions_image_folder_has_our_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is read as folder:.*; write that instead"):
        open_source(DataConfig(source="torch/image_folder", root=str(tmp_path)))


@pytest.mark.parametrize("source", ["wds/imagenet", "tfds/mnist", "hfids/mnist", "digit", "nothing/at/all"])
def test_other_names_are_refused_with_the_ones_that_work(source: str) -> None:
    with pytest.raises(DataError, match="is none of digits, folder:PATH, torch/NAME, hfds/NAME"):
        open_source(DataConfig(source=source))


@pytest.fixture
def hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    root = tmp_path / "pets"
    write_class_folders(root / "train", {"cat": 20, "dog": 20})
    write_class_folders(root / "validation", {"cat": 5, "dog": 5}, seed=77)
    return root


def test_a_local_hub_data_set(hub_folder: Path, tmp_path: Path) -> None:
    config = DataConfig(source=f"hfds/{hub_folder}", root=str(tmp_path / "cache"))
    manifest = prepare_data(config, tmp_path / "run", NullProgress())
    assert manifest.class_names == ("cat", "dog")
    assert (manifest.num_train, manifest.num_validation, manifest.num_test) == (32, 10, 8)
    validation = open_split(config, tmp_path / "run", "validation")
    (batch,) = validation.batches(torch.arange(10), 16, device=CPU)
    assert batch.labels.tolist() == [0] * 5 + [1] * 5
    assert np.array_equal(batch.images[0].numpy().transpose(1, 2, 0), random_pixels(77))
    test = open_split(config, tmp_path / "run", "test")
    assert sum(len(b.labels) for b in test.batches(torch.arange(8), 3, device=CPU)) == 8


def test_a_corrupt_hub_image_is_reported_and_not_replaced(hub_folder: Path, tmp_path: Path) -> None:
    (hub_folder / "train" / "dog" / "003.png").write_bytes(b"no image")
    config = DataConfig(source=f"hfds/{hub_folder}", root=str(tmp_path / "cache"), image_size=8, channels=3)
    with pytest.raises(DataError, match=r"hfds/.* train\[23\]: is no readable image"):
        prepare_data(config.model_copy(update={"test_fraction": 0.06}), tmp_path / "run", NullProgress())


def test_a_missing_hub_data_set(hub_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.source: 'hfds/.*/nowhere' cannot be opened"):
        open_source(DataConfig(source=f"hfds/{hub_folder}/nowhere", root=str(tmp_path / "cache")))
