"""Splits: disjoint, stratified, reproducible, and refused where a class cannot be split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_distill.data.manifest import SPLIT_NAMES, SplitName, SplitSettings
from nas_distill.data.partition import partition, read_splits, write_splits
from nas_distill.errors import DataError, RunError

DEFAULTS: dict[str, Any] = {
    "validation_fraction": 0.2, "test_fraction": 0.2, "split_seed": 0, "max_train_images": None,
    "max_validation_images": None,
}  # fmt: skip


def asked(**changes: Any) -> SplitSettings:
    return SplitSettings(**(DEFAULTS | changes))


def names(count: int) -> tuple[str, ...]:
    return tuple(f"class{number}" for number in range(count))


def interleaved(count: int, classes: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return (np.arange(count) % classes).astype(np.int64)


@settings(deadline=None, max_examples=60)
@given(counts=st.lists(st.integers(12, 60), min_size=2, max_size=6), seed=st.integers(0, 2**40), data=st.data())
def test_splits_are_disjoint_stratified_and_reproducible(counts: list[int], seed: int, data: st.DataObject) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = np.random.default_rng(0).permutation(labels)
    cap = data.draw(st.integers(len(counts), len(labels)))
    settings_ = asked(split_seed=seed, max_train_images=cap)
    native_splits: dict[SplitName, range] = {"train": range(len(labels))}
    splits = partition(labels, native_splits, names(len(counts)), settings_)
    everything = np.concatenate([splits[name].indices for name in SPLIT_NAMES])
    assert len(set(everything.tolist())) == len(everything)
    uncapped = len(labels) - len(splits["validation"].indices) - len(splits["test"].indices)
    assert len(splits["train"].indices) == min(cap, uncapped)
    for split in splits.values():
        assert np.array_equal(split.labels, labels[split.indices])
        assert np.all(np.diff(split.indices) > 0)
        shares = np.bincount(split.labels, minlength=len(counts)) / len(split.labels)
        # One image of each class comes first, so that small splits may be off by an image or two.
        assert np.abs(shares - np.array(counts) / sum(counts)).max() <= 2.5 / len(split.labels)
        assert np.bincount(split.labels, minlength=len(counts)).min() >= 1
    again = partition(labels, native_splits, names(len(counts)), settings_)
    assert all(np.array_equal(again[name].indices, splits[name].indices) for name in SPLIT_NAMES)


def test_another_seed_splits_otherwise() -> None:
    labels = interleaved(200, 4)
    one = partition(labels, {"train": range(200)}, names(4), asked())
    other = partition(labels, {"train": range(200)}, names(4), asked(split_seed=1))
    assert not np.array_equal(one["test"].indices, other["test"].indices)


def test_the_shares_are_those_asked_for() -> None:
    splits = partition(interleaved(1000, 4), {"train": range(1000)}, names(4), asked(test_fraction=0.1))
    assert [len(splits[name].indices) for name in SPLIT_NAMES] == [720, 180, 100]


def test_what_the_source_files_under_a_split_stays_there() -> None:
    labels = interleaved(100, 2)
    splits = partition(
        labels, {"train": range(60), "validation": range(60, 80), "test": range(80, 100)}, names(2), asked()
    )
    assert splits["train"].indices.tolist() == list(range(60))
    assert splits["validation"].indices.tolist() == list(range(60, 80))
    assert splits["test"].indices.tolist() == list(range(80, 100))


def test_only_what_is_missing_is_taken_from_the_training_images() -> None:
    labels = interleaved(100, 2)
    splits = partition(labels, {"train": range(80), "test": range(80, 100)}, names(2), asked())
    assert splits["test"].indices.tolist() == list(range(80, 100))
    assert len(splits["validation"].indices) == 16
    assert set(splits["train"].indices) | set(splits["validation"].indices) == set(range(80))


def test_a_cap_on_validation_leaves_the_training_images_alone() -> None:
    labels = interleaved(500, 5)
    free = partition(labels, {"train": range(500)}, names(5), asked())
    capped = partition(labels, {"train": range(500)}, names(5), asked(max_validation_images=10))
    assert np.bincount(capped["validation"].labels).tolist() == [2] * 5
    assert set(capped["validation"].indices) <= set(free["validation"].indices)
    assert np.array_equal(capped["train"].indices, free["train"].indices)


def test_a_cap_below_the_number_of_classes_is_refused() -> None:
    with pytest.raises(DataError, match=r"data\.max_train_images: 3 is below the number of classes, 4"):
        partition(interleaved(200, 4), {"train": range(200)}, names(4), asked(max_train_images=3))


@pytest.mark.parametrize("rare", [1, 2])
def test_a_class_with_too_few_images_is_named(rare: int) -> None:
    labels = np.array([0] * 50 + [1] * rare + [2] * 50, dtype=np.int64)
    with pytest.raises(DataError, match=r"data\.\w+_fraction: class 'class1' has too few images left \([12]\)"):
        partition(labels, {"train": range(len(labels))}, names(3), asked())


def test_a_class_without_training_images_is_named() -> None:
    with pytest.raises(DataError, match="class 'class2' has no training image"):
        partition(interleaved(40, 2), {"train": range(40)}, names(3), asked())


def test_fewer_images_than_the_split_needs_are_refused() -> None:
    with pytest.raises(DataError, match=r"data\.test_fraction: 0\.2 of 8 images sets 2 aside and keeps 6"):
        partition(interleaved(8, 4), {"train": range(8)}, names(4), asked())


def test_splits_survive_their_file(tmp_path: Path) -> None:
    splits = partition(interleaved(100, 2), {"train": range(100)}, names(2), asked())
    write_splits(tmp_path / "split.npz", splits)
    read = read_splits(tmp_path / "split.npz")
    for name in SPLIT_NAMES:
        assert np.array_equal(read[name].indices, splits[name].indices)
        assert np.array_equal(read[name].labels, splits[name].labels)


@pytest.mark.parametrize("content", [b"", b"PK torn", b"\x93NUMPY torn"])
def test_a_damaged_split_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "split.npz"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"split\.npz: is no readable split file"):
        read_splits(path)


def test_a_pickle_in_a_split_file_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "split.npz"
    np.savez(path, **{name: np.array([{"a": 1}], dtype=object) for name in SPLIT_NAMES})  # type: ignore[arg-type]
    with pytest.raises(RunError, match="is no readable split file"):
        read_splits(path)
