"""The size limit of the decoded-image cache, and disks without room for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nas_distill.callbacks import NullProgress
from nas_distill.config import DataConfig
from nas_distill.data.disk_budget import check_disk_space, default_memory_budget
from nas_distill.data.prepare import prepare_data
from nas_distill.errors import RunError
from tests.helpers import file_size_limit


@contextmanager
def free_bytes(monkeypatch: pytest.MonkeyPatch, free: int) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2 * free, free, free))
        yield


def test_the_default_is_at_most_half_the_memory_and_a_quarter_of_the_free_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with free_bytes(monkeypatch, 2**60):
        budget = default_memory_budget(tmp_path / "not" / "there")
    assert 0 < budget <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
    with free_bytes(monkeypatch, 200_000):
        assert default_memory_budget(tmp_path) == 50_000


def test_images_larger_than_the_default_are_not_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The digits take 92 KB.
    with free_bytes(monkeypatch, 200_000):
        assert not prepare_data(DataConfig(), tmp_path / "small", NullProgress()).images_cached
    assert prepare_data(DataConfig(), tmp_path / "large", NullProgress()).images_cached


def test_missing_disk_space_is_detected_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with free_bytes(monkeypatch, 50_000), pytest.raises(RunError) as caught:
        prepare_data(DataConfig(memory_budget_mib=4096), tmp_path, NullProgress())
    assert (caught.value.code, caught.value.field) == ("data.no_disk_space", str(tmp_path))
    assert not (tmp_path / "data.json").exists()
    assert not (tmp_path / "images").exists()


def test_disk_space_is_compared_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with free_bytes(monkeypatch, 1000):
        check_disk_space(tmp_path, 1000)
        with pytest.raises(RunError) as caught:
            check_disk_space(tmp_path, 1001)
    assert caught.value.code == "data.no_disk_space"


def test_a_disk_that_fills_up_leaves_no_partial_files(tmp_path: Path) -> None:
    with file_size_limit(60_000), pytest.raises(RunError) as caught:
        prepare_data(DataConfig(), tmp_path, NullProgress())
    assert str(tmp_path / "images" / "train.npy") in str(caught.value)
    assert not (tmp_path / "data.json").exists()
    assert not list((tmp_path / "images").iterdir())
    assert prepare_data(DataConfig(), tmp_path, NullProgress()).images_cached
