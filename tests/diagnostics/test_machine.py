from __future__ import annotations

import os
from pathlib import Path

import pytest

from nas_distill.diagnostics import CheckStatus
from nas_distill.diagnostics.machine import (
    check_cpus,
    check_disk,
    check_memory,
    check_shared_memory,
    check_sqlite,
)


def test_sqlite_writes_and_locks_in_a_plain_folder(tmp_path: Path) -> None:
    assert check_sqlite(tmp_path).status is CheckStatus.OK
    assert list(tmp_path.iterdir()) == []


def test_sqlite_in_a_folder_that_takes_no_files_fails(tmp_path: Path) -> None:
    check = check_sqlite(tmp_path / "missing")
    assert check.status is CheckStatus.FAIL
    assert "--storage" in check.fix


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs Linux's /proc, in which no file can be made")
def test_sqlite_on_a_file_system_that_refuses_fails() -> None:
    assert check_sqlite(Path("/proc/self")).status is CheckStatus.FAIL


def test_what_is_found_is_a_number_with_its_unit(tmp_path: Path) -> None:
    assert "GiB free" in check_disk(tmp_path).found
    assert check_memory().found.endswith("GiB")
    assert 1 <= int(check_cpus().found.split(",")[0]) <= (os.cpu_count() or 1)


def test_a_missing_mount_is_no_fault(tmp_path: Path) -> None:
    assert check_shared_memory(tmp_path / "none").status is CheckStatus.OK
