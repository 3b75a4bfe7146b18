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


def test_sqlite_in_a_missing_folder_fails(tmp_path: Path) -> None:
    check = check_sqlite(tmp_path / "missing")
    assert check.status is CheckStatus.FAIL
    assert "--storage" in check.fix


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc of Linux, where no file can be created")
def test_sqlite_on_a_file_system_without_new_files_fails() -> None:
    assert check_sqlite(Path("/proc/self")).status is CheckStatus.FAIL


def test_findings_are_numbers_with_units(tmp_path: Path) -> None:
    assert "GiB free" in check_disk(tmp_path).finding
    assert check_memory().finding.endswith("GiB")
    assert 1 <= int(check_cpus().finding.split(",")[0]) <= (os.cpu_count() or 1)


def test_a_missing_mount_is_ok(tmp_path: Path) -> None:
    assert check_shared_memory(tmp_path / "none").status is CheckStatus.OK
