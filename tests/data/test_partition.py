"""Splits are disjoint, stratified and reproducible; a class that is too small to split is rejected."""

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


def make_settings(**changes: Any) -> SplitSettings:
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
    limit = data.draw(st.integers(len(counts), len(labels)))
    split_settings = make_settings(split_seed=seed, max_train_images=limit)
    native_splits: dict[SplitName, range] = {"train": range(len(labels))}
    splits = partition(labels, native_splits, names(len(counts)), split_settings)
    everything = np.concatenate([splits[name].indices for name in SPLIT_NAMES])
    assert len(set(everything.tolist())) == len(everything)
    unlimited = len(labels) - len(splits["validation"].indices) - len(splits["test"].indices)
    assert len(splits["train"].indices) == min(limit, unlimited)
    for split in splits.values():
        assert np.array_equal(split.labels, labels[split.indices])
        assert np.all(np.diff(split.indices) > 0)
        shares = np.bincount(split.labels, minlength=len(counts)) / len(split.labels)
        # One image of each class comes first, so that small splits may be off by an image or two.
        assert np.abs(shares - np.array(counts) / sum(counts)).max() <= 2.5 / len(split.labels)
        assert np.bincount(split.labels, minlength=len(counts)).min() >= 1
    again = partition(labels, native_splits, names(len(counts)), split_settings)
    assert all(np.array_equal(again[name].indices, splits[name].indices) for name in SPLIT_NAMES)


def test_another_seed_gives_other_splits() -> None:
    labels = interleaved(200, 4)
    one = partition(labels, {"train": range(200)}, names(4), make_settings())
    other = partition(labels, {"train": range(200)}, names(4), make_settings(split_seed=1))
    assert not np.array_equal(one["test"].indices, other["test"].indices)


def test_split_sizes_follow_the_fractions() -> None:
    splits = partition(interleaved(1000, 4), {"train": range(1000)}, names(4), make_settings(test_fraction=0.1))
    assert [len(splits[name].indices) for name in SPLIT_NAMES] == [720, 180, 100]


def test_native_splits_are_used_as_they_are() -> None:
    labels = interleaved(100, 2)
    splits = partition(
        labels, {"train": range(60), "validation": range(60, 80), "test": range(80, 100)}, names(2), make_settings()
    )
    assert splits["train"].indices.tolist() == list(range(60))
    assert splits["validation"].indices.tolist() == list(range(60, 80))
    assert splits["test"].indices.tolist() == list(range(80, 100))


def test_only_missing_splits_are_taken_from_the_training_images() -> None:
    labels = interleaved(100, 2)
    splits = partition(labels, {"train": range(80), "test": range(80, 100)}, names(2), make_settings())
    assert splits["test"].indices.tolist() == list(range(80, 100))
    assert len(splits["validation"].indices) == 16
    assert set(splits["train"].indices) | set(splits["validation"].indices) == set(range(80))


def test_a_validation_limit_does_not_change_the_training_split() -> None:
    labels = interleaved(500, 5)
    free = partition(labels, {"train": range(500)}, names(5), make_settings())
    capped = partition(labels, {"train": range(500)}, names(5), make_settings(max_validation_images=10))
    assert np.bincount(capped["validation"].labels).tolist() == [2] * 5
    assert set(capped["validation"].indices) <= set(free["validation"].indices)
    assert np.array_equal(capped["train"].indices, free["train"].indices)


def rejected(labels: np.ndarray[Any, np.dtype[np.int64]], num_classes: int, **changes: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        partition(labels, {"train": range(len(labels))}, names(num_classes), make_settings(**changes))
    return caught.value


def test_a_limit_below_the_number_of_classes_is_rejected() -> None:
    for field in ("max_train_images", "max_validation_images"):
        error = rejected(interleaved(200, 4), 4, **{field: 3})
        assert (error.code, error.field) == ("data.limit_below_classes", f"data.{field}")


@pytest.mark.parametrize(("rare", "field"), [(1, "data.test_fraction"), (2, "data.validation_fraction")])
def test_an_error_names_a_class_that_is_too_small_to_split(rare: int, field: str) -> None:
    labels = np.array([0] * 50 + [1] * rare + [2] * 50, dtype=np.int64)
    error = rejected(labels, 3)
    assert (error.code, error.field) == ("data.class_too_small_to_split", field)
    assert "'class1'" in str(error)


def test_an_error_names_a_class_without_training_images() -> None:
    error = rejected(interleaved(40, 2), 3)
    assert (error.code, error.field) == ("data.class_without_images", "data.source")
    assert "'class2'" in str(error)


def test_a_split_with_fewer_images_than_classes_is_rejected() -> None:
    error = rejected(interleaved(8, 4), 4)
    assert (error.code, error.field) == ("data.too_few_images_to_split", "data.test_fraction")


def test_splits_can_be_written_and_read(tmp_path: Path) -> None:
    splits = partition(interleaved(100, 2), {"train": range(100)}, names(2), make_settings())
    write_splits(tmp_path / "split.npz", splits)
    read = read_splits(tmp_path / "split.npz")
    for name in SPLIT_NAMES:
        assert np.array_equal(read[name].indices, splits[name].indices)
        assert np.array_equal(read[name].labels, splits[name].labels)


@pytest.mark.parametrize("content", [b"", b"PK truncated", b"\x93NUMPY truncated"])
def test_a_damaged_split_file_is_rejected(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "split.npz"
    path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        read_splits(path)
    assert (caught.value.code, caught.value.field) == ("data.damaged_splits", str(path))


def test_a_pickle_in_a_split_file_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "split.npz"
    np.savez(path, **{name: np.array([{"a": 1}], dtype=object) for name in SPLIT_NAMES})  # type: ignore[arg-type]
    with pytest.raises(RunError) as caught:
        read_splits(path)
    assert caught.value.code == "data.damaged_splits"
