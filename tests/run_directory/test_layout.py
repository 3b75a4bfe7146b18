"""The run directory: nothing torn, one process at a time, and plain words for damage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nas_distill.records import (
    Cost,
    Normalisation,
    TeacherRecord,
    TrialTask,
)
from nas_distill.run_directory.files import read_record, write_record, write_text
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.trial_folder import TrialFolder
from tests.run_directory.factory import assert_run_error, make_epoch, make_trial

HOLD = """
import sys
from pathlib import Path
from nas_distill.run_directory.layout import RunDirectory
with RunDirectory(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_the_record_of_a_trial_is_composed_of_task_and_result(tmp_path: Path) -> None:
    folder = RunDirectory(tmp_path).trial(7)
    folder.write_record(make_trial(7))
    assert sorted(path.name for path in folder.path.iterdir()) == ["result.json", "task.json"]
    assert read_record(folder.task, TrialTask) == make_trial(7).task
    assert folder.read_result() == make_trial(7).result()
    write_record(folder.task, make_trial(8).task)
    with assert_run_error("run.foreign_result", folder.result):
        folder.read_record()
    folder.task.unlink()
    with assert_run_error("run.unreadable_file", folder.task):
        folder.read_record()


def test_a_run_of_an_earlier_version_is_one_error(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    write_text(run.config, "seed: 0\n")
    write_text(run.trial(3).path / "spec.json", "{}")
    with assert_run_error("run.other_version", tmp_path):
        run.existing()
    write_text(run.trial(3).result, json.dumps({"schema_version": 1, "number": 3}))
    with assert_run_error("run.other_version", run.trial(3).result):
        run.trial(3).read_record()


def test_a_trial_folder_before_and_after(tmp_path: Path) -> None:
    folder = RunDirectory(tmp_path).trial(7)
    assert folder.path == tmp_path / "trials" / "00007"
    assert folder.read_curve() == ()
    assert folder.read_record() is None
    folder.write_curve([make_epoch(1), make_epoch(2)])
    folder.write_record(make_trial(7))
    assert folder.read_curve() == (make_epoch(1), make_epoch(2))
    assert folder.read_record() == make_trial(7)


@pytest.mark.parametrize("damage", [b"{", b"\xff\xfe\x00", b"\n", b"null\n", b'{"epoch": 3}\n'])
def test_a_damaged_curve_names_its_line(tmp_path: Path, damage: bytes) -> None:
    folder = TrialFolder(tmp_path)
    folder.write_curve([make_epoch(1)])
    folder.curve.write_bytes(folder.curve.read_bytes() + damage)
    with assert_run_error("run.damaged_record", f"{folder.curve}:2"):
        folder.read_curve()


def test_line_separators_in_text_do_not_end_a_line(tmp_path: Path) -> None:
    epoch = make_epoch().model_copy(update={"loss_parts": {"odd\u2028\x85name": 1.0}})
    folder = TrialFolder(tmp_path)
    folder.write_curve([epoch, epoch])
    assert folder.read_curve() == (epoch, epoch)


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with assert_run_error("run.missing", tmp_path):
        RunDirectory(tmp_path).existing()
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    assert RunDirectory(tmp_path).existing() == RunDirectory(tmp_path)


def test_a_folder_that_may_not_be_entered_is_an_error(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    write_text(run.config, "seed: 0\n")
    run.path.chmod(0)
    try:
        with unprivileged(), assert_run_error("run.unreadable_file", run.config):
            run.existing()
    finally:
        run.path.chmod(0o755)
    too_long = RunDirectory(tmp_path / ("n" * 300))
    with assert_run_error("run.unreadable_file", too_long.config):
        too_long.existing()


@pytest.mark.parametrize("name", ["epochs.jsonl", "result.json"])
def test_a_log_that_is_a_folder_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    folder = TrialFolder(tmp_path)
    with assert_run_error("run.unreadable_file", tmp_path / name):
        _ = folder.read_curve(), folder.read_record()


def test_the_teacher_of_a_run(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with assert_run_error("run.unreadable_file", run.teacher_record):
        run.read_teacher()
    teacher = TeacherRecord(
        architecture="resnet18", weights_sha256="0", class_names=("a", "b"),
        normalisation=Normalisation(mean=(0.5,), std=(0.5,)),
        cost=Cost(num_params=1, macs=1, size_bytes=4), top1=0.5, nll_nats=1.0, class_top1=(0.5, None),
        class_counts=(2, 0), data_id="d",
    )  # fmt: skip
    write_record(run.teacher_record, teacher)
    assert run.read_teacher() == teacher


def test_the_study_is_in_the_run_directory(tmp_path: Path) -> None:
    assert RunDirectory(tmp_path / "run").own_storage == f"sqlite:///{tmp_path}/run/study.db"


def test_events_are_lines(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.log_event("started", trials=3)
    run.log_event("note", text="two\nlines ü")
    first, second = (json.loads(line) for line in run.events.read_text(encoding="utf-8").splitlines())
    assert (first["event"], first["trials"]) == ("started", 3)
    assert second["text"] == "two\nlines ü"
    assert first["time"] <= second["time"]
    assert first["time"].endswith("+00:00")


def test_an_event_after_an_incomplete_line_is_read(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.log_event("started")
    run.log_event("torn")
    run.events.write_bytes(run.events.read_bytes()[:-5])
    run.log_event("search")
    run.log_event("end")
    assert [event["event"] for event in run.read_events()] == ["started", "search", "end"]
    assert run.events.read_bytes().count(b"\n") == 4


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "held\n"
            yield child
        finally:
            child.kill()


def test_only_one_process_holds_the_lock(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    with holder(run.path) as child:
        with assert_run_error("run.locked", run.path):
            take(run)
        child.communicate("\n", timeout=60)
        assert child.returncode == 0
    take(run)


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    with holder(run.path) as child:
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait(timeout=60) == -signal.SIGKILL
        take(run)


def test_the_lock_is_released_after_an_error(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    with pytest.raises(KeyError), run.locked():
        raise KeyError("inside")
    take(run)


def test_the_lock_is_not_reentrant(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    with run.locked(), assert_run_error("run.locked", run.path):
        take(run)


def test_a_file_is_not_a_run_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with assert_run_error("run.not_a_directory", path):
            take(RunDirectory(path))


@contextmanager
def unprivileged() -> Iterator[None]:
    """Drop root's permission to enter every folder."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def take(run: RunDirectory) -> Any:
    with run.locked():
        assert (run.path / "lock").exists()
