"""Points at which tests kill a process: before, between and after the steps of every atomic write.

The hook does nothing unless the environment variable `NAS_DISTILL_FAILPOINTS` names a folder. Each point that any
process reaches appends its name to `points` in this folder; the process that writes the line whose number `kill_at`
holds kills itself, once.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

FOLDER = os.environ.get("NAS_DISTILL_FAILPOINTS")
"""Folder of the hook; None turns it off."""


def reach(step: str, path: Path) -> None:
    """Pass a point.

    Args:
        step: Name of the step, such as "before rename".
        path: File that is written.
    """
    if FOLDER is not None:
        _record(Path(FOLDER), f"{step} {path.name}")


def _record(folder: Path, name: str) -> None:
    log, kill_at = folder / "points", folder / "kill_at"
    # `O_APPEND` makes lines of several processes whole; a line's number is the size of the file, as all are equal long.
    line = f"{os.getpid():>8} {name:<60.60}\n".encode()
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line)
        number = os.lseek(descriptor, 0, os.SEEK_CUR) // len(line)
    finally:
        os.close(descriptor)
    if kill_at.exists() and int(kill_at.read_text(encoding="ascii")) == number:
        kill_at.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
