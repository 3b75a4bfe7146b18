"""Atomic writes and JSON records: no reader sees half a file, and damage is a clear error."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from nas_distill.records import (
    TrialRecord,
)
from nas_distill.run_directory.files import read_record, write_atomic, write_record, write_text
from tests.helpers import file_size_limit
from tests.run_directory.factory import assert_run_error, make_trial


def test_writing_creates_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.txt"
    write_text(path, "old")
    write_text(path, "new: ü")
    assert path.read_text(encoding="utf-8") == "new: ü"
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_full_disk_half_way_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with file_size_limit(4096), assert_run_error("run.unwritable_file", path):
        write_text(path, "n" * 100_000)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_raises_half_way_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def write(temporary: Path) -> None:
        temporary.write_text("half", encoding="utf-8")
        raise KeyError("the other half")

    with pytest.raises(KeyError):
        write_atomic(path, write)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_process_killed_half_way_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    code = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from nas_distill.run_directory.files import write_atomic
        def write(temporary):
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
        write_atomic(Path(sys.argv[1]), write)
    """)
    child = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60)
    assert child.returncode == -signal.SIGKILL
    assert path.read_text(encoding="utf-8") == "old"


def _write_pages(path: str) -> None:
    for page in range(150):
        write_text(Path(path), str(page % 10) * 20_000)


def test_a_reader_never_sees_a_torn_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "0" * 20_000)
    writer = multiprocessing.get_context("spawn").Process(target=_write_pages, args=(str(path),))
    writer.start()
    reads = 0
    while writer.is_alive():
        text = path.read_text(encoding="utf-8")
        assert len(text) == 20_000
        assert len(set(text)) == 1
        reads += 1
    writer.join()
    assert writer.exitcode == 0
    assert reads > 0


def test_an_unwritable_path_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with assert_run_error("run.unwritable_file", tmp_path / "file" / "below"):
        write_text(tmp_path / "file" / "below", "x")
    (tmp_path / "folder").mkdir()
    with assert_run_error("run.unwritable_file", tmp_path / "folder"):
        write_text(tmp_path / "folder", "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_records_round_trip(tmp_path: Path) -> None:
    write_record(tmp_path / "r.json", make_trial())
    assert read_record(tmp_path / "r.json", TrialRecord) == make_trial()


def test_a_missing_record_is_an_error(tmp_path: Path) -> None:
    with assert_run_error("run.unreadable_file", tmp_path / "r.json"):
        read_record(tmp_path / "r.json", TrialRecord)
    with assert_run_error("run.unreadable_file", tmp_path):
        read_record(tmp_path, TrialRecord)


def test_a_record_cut_off_anywhere_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    whole = make_trial().model_dump_json().encode()
    for keep in range(0, len(whole), 37):
        path.write_bytes(whole[:keep])
        with assert_run_error("run.damaged_record", path):
            read_record(path, TrialRecord)
