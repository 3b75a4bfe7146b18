"""timm data sets: torchvision's MNIST from idx files, Hugging Face `datasets` from a local folder."""

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


def test_mnist_uses_its_own_test_split(tmp_path: Path) -> None:
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


def rejected(config: DataConfig) -> DataError:
    with pytest.raises(DataError) as caught:
        open_source(config)
    return caught.value


def test_missing_files_suggest_a_download(tmp_path: Path) -> None:
    error = rejected(DataConfig(source="torch/mnist", root=str(tmp_path)))
    assert (error.code, error.field) == ("data.source_not_opened", "data.source")
    assert "data.download=true" in str(error)


def test_a_missing_root_is_rejected() -> None:
    error = rejected(DataConfig(source="torch/cifar10"))
    assert (error.code, error.field) == ("data.missing_root", "data.root")


def test_an_unknown_torchvision_name_is_an_error(tmp_path: Path) -> None:
    error = rejected(DataConfig(source="torch/cifar1000", root=str(tmp_path)))
    assert (error.code, error.field) == ("data.unknown_torchvision_name", "data.source")
    assert "cifar100," in str(error)


def test_torchvisions_image_folder_is_opened_as_folder(tmp_path: Path) -> None:
    error = rejected(DataConfig(source="torch/image_folder", root=str(tmp_path)))
    assert (error.code, error.field) == ("data.use_folder_source", "data.source")


@pytest.mark.parametrize("source", ["wds/imagenet", "tfds/mnist", "hfids/mnist", "digit", "nothing/at/all"])
def test_unknown_sources_are_rejected(source: str) -> None:
    error = rejected(DataConfig(source=source))
    assert (error.code, error.field) == ("data.unknown_source", "data.source")


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


def test_a_damaged_hub_image_is_an_error_and_not_replaced(hub_folder: Path, tmp_path: Path) -> None:
    (hub_folder / "train" / "dog" / "003.png").write_bytes(b"no image")
    config = DataConfig(source=f"hfds/{hub_folder}", root=str(tmp_path / "cache"), image_size=8, channels=3)
    with pytest.raises(DataError) as caught:
        prepare_data(config.model_copy(update={"test_fraction": 0.06}), tmp_path / "run", NullProgress())
    assert (caught.value.code, caught.value.field) == ("data.unreadable_image", f"{config.source} train[23]")


def test_a_missing_hub_data_set(hub_folder: Path, tmp_path: Path) -> None:
    error = rejected(DataConfig(source=f"hfds/{hub_folder}/nowhere", root=str(tmp_path / "cache")))
    assert (error.code, error.field) == ("data.source_not_opened", "data.source")
