"""Let trainings on this machine pause while a latency is measured.

A training holds a shared lock while it computes, and a measurement needs the lock for itself. A second lock, the gate,
keeps trainings from taking their turn before a waiting measurement. Both are locks of the operating system, so they end
with the process that holds them. They cover the processes of one user on one machine, in all runs.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_POLL_S = 0.01


class Turn:
    """The turn of a training, which pauses while a measurement waits.

    Args:
        files: Open files of gate and lock; None for a training that never pauses.

    Attributes:
        paused_s: Seconds for which the training has paused.
    """

    def __init__(self, files: tuple[int, int] | None = None) -> None:
        self.paused_s = 0.0
        self._files = files

    def take(self) -> None:
        """Wait until no measurement runs or waits, and hold the lock."""
        if self._files is not None:
            started = time.perf_counter()
            gate, lock = self._files
            fcntl.flock(gate, fcntl.LOCK_SH)
            fcntl.flock(lock, fcntl.LOCK_SH)
            fcntl.flock(gate, fcntl.LOCK_UN)
            self.paused_s += time.perf_counter() - started

    def give_way(self) -> None:
        """Let a waiting measurement go first; return when it has ended."""
        if self._files is None:
            return
        gate, lock = self._files
        try:
            fcntl.flock(gate, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(gate, fcntl.LOCK_UN)
        except BlockingIOError:
            fcntl.flock(lock, fcntl.LOCK_UN)
            self.take()


@contextmanager
def training() -> Iterator[Turn]:
    """Mark a training as running.

    Call `give_way` between two steps. Do not nest this: the inner mark would wait for a measurement that waits for the
    outer one. Nothing in the block may wait for the driver, which may be measuring.
    """
    files = _open_files()
    try:
        turn = Turn(files)
        turn.take()
        yield turn
    finally:
        _close(files or ())


@contextmanager
def measuring(timeout_s: float = 120.0) -> Iterator[bool]:
    """Keep the trainings of this machine paused, and yield whether they are.

    Measurements of several runs take turns.

    Args:
        timeout_s: Longest time to wait for trainings that are in the middle of a step, seconds.
    """
    files = _open_files()
    if files is None:
        yield False
        return
    gate, lock = files
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        deadline = time.monotonic() + timeout_s
        alone = False
        while not alone and time.monotonic() < deadline:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                alone = True
            except BlockingIOError:
                time.sleep(_POLL_S)
        yield alone
    finally:
        _close(files)


def _open_files() -> tuple[int, int] | None:
    """Return the open files of gate and lock; None where this user cannot have any."""
    folder = Path(tempfile.gettempdir()) / f"nas-distill-{os.getuid()}"
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.lstat().st_uid == os.getuid():  # somebody else may have made it first
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(folder / "gate", flags, 0o600), os.open(folder / "training", flags, 0o600)
    return None


def _close(files: Iterable[int]) -> None:
    for file in files:
        os.close(file)
