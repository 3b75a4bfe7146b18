"""Contract tests that every kind of image source passes."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from nas_distill.config import DataConfig
from nas_distill.data.sources import ImageSource, open_source
from tests.data.files import write_class_folders, write_mnist


@pytest.fixture(params=["digits", "folder", "torch", "hfds"])
def config(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    if request.param == "digits":
        return DataConfig()
    if request.param == "torch":
        write_mnist(tmp_path, train=40, test=20)
        return DataConfig(source="torch/mnist", root=str(tmp_path))
    write_class_folders(tmp_path / "train", {"cat": 4, "dog": 4})
    write_class_folders(tmp_path / "test", {"cat": 2, "dog": 2}, seed=9)
    if request.param == "folder":
        return DataConfig(source=f"folder:{tmp_path}")
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    return DataConfig(source=f"hfds/{tmp_path}", root=str(tmp_path / ".cache"))


def pixels_of(source: ImageSource, index: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with source.open(index) as image:
        return np.asarray(image)


def test_labels_classes_and_splits_agree(config: DataConfig) -> None:
    source = open_source(config)
    assert source.labels.dtype == np.int64
    assert set(source.labels.tolist()) == set(range(len(source.class_names)))
    positions = [position for span in source.native_splits.values() for position in span]
    assert positions == list(range(len(source.labels)))
    assert len({source.name(position) for position in positions}) == len(positions)


def test_opening_a_source_twice_gives_the_same_images(config: DataConfig) -> None:
    one, other = open_source(config), open_source(config)
    assert one.content_id == other.content_id
    assert np.array_equal(one.labels, other.labels)
    last = len(one.labels) - 1
    assert np.array_equal(pixels_of(one, last), pixels_of(other, last))


def test_a_source_can_be_sent_to_spawned_workers(config: DataConfig) -> None:
    source = open_source(config)
    sent = pickle.loads(pickle.dumps(source))
    assert sent.content_id == source.content_id
    for index in (0, len(source.labels) - 1):
        assert np.array_equal(pixels_of(sent, index), pixels_of(source, index))
