"""Injects each fault into a small real run and prints a table: fault, what happened, trials, epochs again, seconds.

    python -m tests.faults.table [--work FOLDER]

Takes some minutes. A full disk and a read-only mount need the right to mount a tmpfs; without it they are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nas_distill.analysis.trials.study_reader import read_study
from nas_distill.cli import main
from nas_distill.errors import NasDistillError
from nas_distill.run_directory.layout import RunDirectory
from tests.data.files import write_class_folders
from tests.faults import runs

TRIALS, EPOCHS = 4, 3
SEARCH = (
    "search", "--data", "digits", "--trials", str(TRIALS), "--epochs", str(EPOCHS), "--asha", "none",
    "--max-parallel", "1",
    "--set", "teacher.recipe.epochs=4", "--set", "data.max_train_images=320", "--set", "data.max_validation_images=160",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """How one command ended."""

    status: int
    last: str
    seconds: float


def call(*arguments: str | Path) -> Call:
    """Run a command in this process; return its exit status and last telling line."""
    out, started = io.StringIO(), time.monotonic()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = main([str(argument) for argument in arguments])
    lines = [line.strip() for line in out.getvalue().splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith("error: ") or " -> " in line] or lines[-1:]
    return Call(status, telling[0] if telling else "", time.monotonic() - started)


def rows(run: RunDirectory) -> int | str:
    """Return the number of rows of the report, or the code of the error."""
    try:
        return len(read_study(run).trials)
    except NasDistillError as error:
        return error.code


def epochs_logged(run: RunDirectory) -> int:
    """Return the epochs of all trials that the log says have ended."""
    return sum(event.get("epochs", 0) for event in run.read_events() if event["event"] == "trial")


def print_row(fault: str, happened: str, *, trials: tuple[object, object], epochs: int, seconds: float) -> None:
    """Print one row of the table.

    Args:
        fault: What was done to the run.
        happened: What the commands did.
        trials: Rows of the report before and after; the code of the error where there is no report.
        epochs: Epochs trained again.
        seconds: Duration of the commands that recovered the run.
    """
    before, after = trials
    print(f"| {fault} | {happened[:330]} | {before} | {after} | {epochs} | {seconds:.1f} |", flush=True)


def damaged_and_resumed(
    base: Path, work: Path, fault: str, damage: Callable[[RunDirectory], None], *, repair: bool
) -> None:
    """Damage a copy of the run, report, repair and resume it, and print a row."""
    run = RunDirectory(work / "run")
    shutil.rmtree(run.path, ignore_errors=True)
    shutil.copytree(base, run.path)
    before, epochs = rows(run), epochs_logged(run)
    damage(run)
    reported = rows(run)
    steps, seconds = [], 0.0
    if repair:
        done = call("repair", run.path)
        seconds += done.seconds
        steps.append(f"repair ({done.status}): {done.last.removeprefix(str(run.path) + '/')}")
    done = call("search", "--resume", run.path)
    seconds += done.seconds
    steps.append(f"resume: exit {done.status}" + (f", {done.last}" if done.status else ""))
    happened = f"report meanwhile: {reported}; " + "; ".join(steps).replace(str(run.path), "RUN")
    print_row(fault, happened, trials=(before, rows(run)), epochs=epochs_logged(run) - epochs, seconds=seconds)


def first(run: RunDirectory) -> int:
    return min(run.trial_numbers())


def edit(run: RunDirectory, old: str, new: str) -> None:
    text = run.config.read_text()
    assert old in text
    run.config.write_text(text.replace(old, new, 1))


def both(run: RunDirectory) -> None:
    runs.change_stored_results(run, first(run))
    runs.flip_a_bit(run.trial(first(run)).result)


def without_study(run: RunDirectory) -> None:
    run.study_file.unlink()
    run.study_log.unlink()


FAULTS: tuple[tuple[str, Callable[[RunDirectory], None], bool], ...] = (
    ("half of images/validation.npy zeroed", lambda run: runs.zero_half(run.images / "validation.npy"), False),
    ("split.npz truncated", lambda run: runs.truncate(run.split), False),
    ("a bit of data.json flipped", lambda run: runs.flip_a_bit(run.data_manifest), True),
    ("study.db deleted", lambda run: runs.remove(run.study_file), True),
    ("study.db emptied", lambda run: runs.empty(run.study_file), True),
    ("study.db truncated", lambda run: runs.truncate(run.study_file), True),
    ("study.db and its log deleted", without_study, True),
    ("a digit changed in a result in study.db", lambda run: runs.change_stored_results(run, first(run)), True),
    ("a bit of a result.json flipped", lambda run: runs.flip_a_bit(run.trial(first(run)).result), True),
    ("the same result damaged in both", both, True),
    ("weights of a student flipped", lambda run: runs.flip_a_bit(run.trial(first(run)).weights), True),
    ("weights of the teacher flipped", lambda run: runs.flip_a_bit(run.teacher / "model.safetensors"), True),
    ("another study_name in config.yaml", lambda run: edit(run, "study_name: nas_distill", "study_name: x"), False),
    ("another learning rate in config.yaml", lambda run: edit(run, "rate: 0.004", "rate: 0.1"), False),
    ("another seed in config.yaml", lambda run: edit(run, "\nseed: 0", "\nseed: 1"), False),
    ("config.yaml emptied", lambda run: runs.empty(run.config), True),
)  # fmt: skip


def killed_with_a_damaged_checkpoint(work: Path) -> None:
    """Kill a search with SIGKILL while a trial has a checkpoint, flip a bit of it, and resume."""
    run = RunDirectory(work / "killed")
    command = [sys.executable, "-m", "nas_distill", *SEARCH, "--epochs", "40", "--trials", "1", "--out", str(run.path),
               "--set", "resources.checkpoint_interval_s=0"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        while not list(run.trials.glob("*/checkpoint/*.safetensors")) and child.poll() is None:
            time.sleep(0.1)
        child.kill()
    (checkpoint,) = run.trials.glob("*/checkpoint/*.safetensors")
    trained = len(run.trial(first(run)).read_curve())
    runs.flip_a_bit(checkpoint)
    done = call("search", "--resume", run.path)
    record = run.trial(first(run)).read_record()
    happened = f"the trial starts again: {record.status.value if record else 'lost'}, exit {done.status}"
    fault = "driver killed, checkpoint of the running trial flipped"
    print_row(fault, happened, trials=(0, rows(run)), epochs=trained, seconds=done.seconds)


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def full_disk(base: Path, work: Path) -> None:
    """Fill the disk of a run, extend it, free the disk and continue; then make it read-only."""
    with small_disk(work / "disk", "200m") as disk:
        run = RunDirectory(disk / "run")
        shutil.copytree(base, run.path)
        before, epochs = rows(run), epochs_logged(run)
        filler, extended = disk / "filler", str(TRIALS + 2)
        filler.write_bytes(bytes(shutil.disk_usage(disk).free - 60_000))
        full = call("search", "--resume", run.path, "--trials", extended)
        kept = rows(run)
        filler.unlink()
        done = call("search", "--resume", run.path, "--trials", extended)
        happened = f"exit {full.status}: {full.last}; {kept} rows kept; freed: exit {done.status}, {done.last}"
        again = epochs_logged(run) - epochs - 2 * EPOCHS
        trials = (before, rows(run))
        print_row(
            "disk full, two more trials", hide(happened, run.path), trials=trials, epochs=again, seconds=done.seconds
        )
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        done = call("report", run.path)
        happened = hide(f"exit {done.status}: {done.last}", run.path)
        print_row("read-only mount, report", happened, trials=(trials[1], rows(run)), epochs=0, seconds=done.seconds)


def moved(base: Path, work: Path) -> None:
    """Move a run to a path that a URL cannot contain, and resume it."""
    odd = work / "what? 100%"
    shutil.copytree(base, odd)
    before = sorted(path.name for path in work.iterdir())
    done = call("search", "--resume", odd)
    created = sorted(path.name for path in work.iterdir()) != before
    happened = f"resume: exit {done.status}; files outside the run: {created}"
    trials = (TRIALS, rows(RunDirectory(odd)))
    print_row("run moved to a path with ? and %", happened, trials=trials, epochs=0, seconds=done.seconds)


def inputs(work: Path) -> None:
    """Print rows of faults in what the user gives: images and YAML."""
    data = work / "photos"
    write_class_folders(data, {"a": 30, "b": 30})
    (data / "a" / "cut.png").write_bytes((data / "a" / "000.png").read_bytes()[:100])
    (data / "b" / "empty.png").write_bytes(b"")
    os.mkfifo(data / "b" / "pipe.png")
    for policy in ("fail", "skip"):
        options = (
            "--model",
            "small_resnet",
            "--epochs",
            "1",
            "--bad-images",
            policy,
            "--out",
            work / f"photos-{policy}",
        )
        done = call("teacher", "--data", f"folder:{data}", *options)
        happened = hide(f"exit {done.status}: {done.last}", data)
        print_row(
            f"3 of 63 images bad, --bad-images {policy}", happened, trials=("", ""), epochs=0, seconds=done.seconds
        )
    bomb = work / "bomb.yaml"
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    for level in range(1, 9):
        below, own = chr(96 + level), chr(97 + level)
        lines.append(f"{own}: &{own} [{','.join(['*' + below] * 9)}]")
    bomb.write_text("\n".join(lines))
    done = call("search", "--config", bomb)
    happened = hide(f"exit {done.status}: {done.last}", work)
    print_row("YAML of nine levels of nine aliases", happened, trials=("", ""), epochs=0, seconds=done.seconds)


def hide(text: str, path: Path) -> str:
    """Return a text with a short name for a long path."""
    return text.replace(str(path), "RUN")


def run_table(work: Path) -> None:
    base = work / "base"
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "nas_distill", *SEARCH, "--out", str(base)], check=True, capture_output=True)
    print(f"base run: {TRIALS} trials of 3 epochs, {time.monotonic() - started:.0f} s\n")
    print("| fault | what happened | trials before | after | epochs trained again | seconds |\n|--|--|--|--|--|--|")
    for fault, damage, repair in FAULTS:
        damaged_and_resumed(base, work, fault, damage, repair=repair)
    moved(base, work)
    killed_with_a_damaged_checkpoint(work)
    inputs(work)
    with RunDirectory(base).locked():
        done = call("search", "--resume", base)
        happened = hide(f"exit {done.status}: {done.last}", base)
        print_row("a second process uses it", happened, trials=(TRIALS, TRIALS), epochs=0, seconds=done.seconds)
    try:
        full_disk(base, work)
    except subprocess.CalledProcessError as error:
        print(f"full disk and read-only mount: not tried, no tmpfs can be mounted ({error.stderr!r:.100})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=None)
    folder = parser.parse_args().work or Path(tempfile.mkdtemp(prefix="faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(json.dumps({"work": str(folder)}))
    run_table(folder)
