"""Searches that run in processes of their own, inspected through /proc."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")
_LISTEN = "0A"


def start(
    arguments: list[str],
    log: Path,
    *,
    verb: str = "search",
    environment: Mapping[str, str] | None = None,
    forks: str | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command in a process group of its own, as a terminal does.

    Args:
        arguments: Arguments of the command line.
        log: File that receives its output.
        verb: Command of `nas_distill`.
        environment: Environment variables beside those of this process.
        forks: Folder of a server whose forks are the workers (see `worker_forks`); None: Ray starts new processes.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    program = ["nas_distill"] if forks is None else ["tests.search.worker_forks", "run", forks]
    with log.open("ab") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", *program, verb, *arguments],
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=inherited | dict(environment or {}),
        )


def wait_for(
    condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, timeout_s: float = 400
) -> None:
    """Wait until `condition` returns True.

    The condition must stay true: wait for the marker of a fault that holds a worker (`faults`), not for a checkpoint
    that a fast worker may have removed by now.

    Raises:
        AssertionError: The process ended, or the time ran out, first.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            raise AssertionError(f"{'the process ended' if ended else 'time ran out'} first:\n{log.read_text()}")
        time.sleep(0.05)


def wait_for_exit(pids: Iterable[int]) -> None:
    """Wait until processes that were killed are gone. A test's own timeout bounds the wait."""
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        time.sleep(0.05)


def descendants(pid: int) -> set[int]:
    """Return the ids of a running process and its descendants."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = {pid}
    while grown := {child for child, parent in parents.items() if parent in found} - found:
        found |= grown
    return found


def outward_listeners(pid: int) -> list[str]:
    """Return the addresses other than loopback on which a process or its descendants listen."""
    sockets = {name for child in descendants(pid) for name in _sockets(child)}
    lines = [
        line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]
    ]
    return [
        fields[1]
        for fields in lines
        if fields[3] == _LISTEN and fields[9] in sockets and fields[1].partition(":")[0] not in LOOPBACK
    ]


def listeners(pid: int) -> int:
    """Return the number of addresses on which a process or its descendants listen."""
    sockets = {name for child in descendants(pid) for name in _sockets(child)}
    lines = [
        line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]
    ]
    return sum(fields[3] == _LISTEN and fields[9] in sockets for fields in lines)


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its descendants."""
    for pid in descendants(process.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            continue
    process.wait()


def _sockets(pid: int) -> Iterator[str]:
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            target = str(descriptor.readlink())
            if target.startswith("socket:["):
                yield target[8:-1]
    except OSError:
        return
