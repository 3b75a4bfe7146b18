"""Which decoded images are kept, and what a disk without room for them leads to."""

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


def test_the_default_is_below_half_the_memory_and_a_quarter_of_the_free_disk(tmp_path: Path) -> None:
    budget = default_memory_budget(tmp_path / "not" / "there")
    assert 0 < budget <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
    assert budget <= shutil.disk_usage(tmp_path).total / 4


def test_a_small_disk_lowers_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The digits take 92 KB.
    with free_bytes(monkeypatch, 200_000):
        assert default_memory_budget(tmp_path) == 50_000
        assert not prepare_data(DataConfig(), tmp_path / "small", NullProgress()).images_cached
    assert prepare_data(DataConfig(), tmp_path / "large", NullProgress()).images_cached


def test_images_that_the_disk_has_no_room_for_are_refused_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        free_bytes(monkeypatch, 50_000),
        pytest.raises(
            RunError, match=r"the decoded images take 0 MiB and 0 MiB are free; .* data\.memory_budget_mib below"
        ),
    ):
        prepare_data(DataConfig(memory_budget_mib=4096), tmp_path, NullProgress())
    assert not (tmp_path / "data.json").exists()
    assert not (tmp_path / "images").exists()


def test_room_is_told_in_mebibytes(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"take 1,099,511,627,776 MiB and [\d,]+ MiB are free"):
        check_disk_space(tmp_path, 2**60)
    check_disk_space(tmp_path, 1)


def test_a_disk_that_fills_while_images_are_written_leaves_nothing_half(tmp_path: Path) -> None:
    with (
        file_size_limit(60_000),
        pytest.raises(
            RunError, match=r"images/train\.npy: cannot be written: File too large; free space or choose another --out"
        ),
    ):
        prepare_data(DataConfig(), tmp_path, NullProgress())
    assert not (tmp_path / "data.json").exists()
    assert not list((tmp_path / "images").iterdir())
    assert prepare_data(DataConfig(), tmp_path, NullProgress()).images_cached
