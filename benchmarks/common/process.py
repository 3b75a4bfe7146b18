"""Runs a program and watches what it and all processes that it starts use, from `/proc`: Linux alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_MARK = "NAS_DISTILL_BENCHMARK"
_CPU_INTERVAL_S = 0.5
_MEMORY_INTERVAL_S = 2.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

ProcessKey = tuple[int, str]
"""Process number and start time: numbers are given again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a program used, all its processes together.

    Attributes:
        started_at: Unix time.
        wall_s: From start to end.
        cpu_s: User and system time; a process's last half second may be missing.
        peak_memory_bytes: Largest sum of proportional set sizes (shared pages counted once), sampled every two seconds.
        gpu_s: Seconds times the share of time in which a kernel ran, all GPUs together; None without a GPU.
        peak_gpu_bytes: Largest memory in use on all GPUs together; None without a GPU.
        output: Standard output.
    """

    started_at: float
    wall_s: float
    cpu_s: float
    peak_memory_bytes: int
    gpu_s: float | None
    peak_gpu_bytes: int | None
    output: str


def run_watched(command: Sequence[str], *, folder: Path, environment: Mapping[str, str] | None = None) -> Usage:
    """Runs a command to its end.

    Args:
        command: Program and arguments.
        folder: Working folder; what it writes to standard error is kept there in `stderr.txt`.
        environment: On top of this process's own.

    Raises:
        RuntimeError: It ended with another exit code than 0.
    """
    mark = uuid.uuid4().hex
    folder.mkdir(parents=True, exist_ok=True)
    errors = folder / "stderr.txt"
    started_at, started = time.time(), time.perf_counter()
    with errors.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=stream,
            env={**os.environ, **(environment or {}), **marked_environment(mark)},
        )
        with Watch(process.pid, mark) as watch:
            output, _ = process.communicate()
            wall_s = time.perf_counter() - started
    if process.returncode != 0:
        tail = errors.read_text(errors="replace")[-3000:]
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{tail}")
    return Usage(
        started_at=started_at,
        wall_s=wall_s,
        cpu_s=watch.cpu_s,
        peak_memory_bytes=watch.peak_memory_bytes,
        gpu_s=watch.gpu_s,
        peak_gpu_bytes=watch.peak_gpu_bytes,
        output=output.decode(errors="replace"),
    )


@dataclass
class Watch:
    """A thread that samples a process and all that it starts, directly or not, until the context ends.

    Args:
        root: Process number.
        mark: Value of the environment variable by which processes that lost their parent are known; none by default.
    """

    root: int
    mark: str = ""
    peak_memory_bytes: int = 0
    gpu_s: float | None = None
    peak_gpu_bytes: int | None = None
    _ticks: dict[ProcessKey, int] = field(default_factory=dict)
    _strangers: set[ProcessKey] = field(default_factory=set)
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def cpu_s(self) -> float:
        """CPU seconds so far."""
        return sum(self._ticks.values()) / _TICKS_PER_S

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        has_gpu = shutil.which("nvidia-smi") is not None and _gpu_state() is not None
        last = time.perf_counter()
        memory_due = last
        while not self._ended.is_set():
            members = self._members()
            now = time.perf_counter()
            if now >= memory_due:
                memory_due = now + _MEMORY_INTERVAL_S
                self.peak_memory_bytes = max(self.peak_memory_bytes, sum(memory_of(pid) for pid, _ in members))
                if has_gpu:
                    self._note_gpu(now - last)
                last = now
            self._ended.wait(_CPU_INTERVAL_S)
        self._members()

    def _note_gpu(self, seconds: float) -> None:
        state = _gpu_state()
        if state is not None:
            busy, used = state
            self.gpu_s = (self.gpu_s or 0.0) + busy * seconds
            self.peak_gpu_bytes = max(self.peak_gpu_bytes or 0, used)

    def _members(self) -> set[ProcessKey]:
        """Returns the living processes that belong, and notes their CPU time."""
        stats = dict(filter(None, map(_read_stat, Path("/proc").glob("[0-9]*"))))
        parents = {pid: parent for (pid, _), (parent, _) in stats.items()}
        known = {pid for pid, start in stats if (pid, start) in self._ticks} | {self.root}
        members = {key for key in stats if self._belongs(key, parents, known)}
        for key in members:
            self._ticks[key] = stats[key][1]
        return members

    def _belongs(self, key: ProcessKey, parents: Mapping[int, int], known: set[int]) -> bool:
        ancestor: int | None = key[0]
        while ancestor is not None:
            if ancestor in known:
                return True
            ancestor = parents.get(ancestor)
        # The environment is read once per process: some programs overwrite theirs when they change their title.
        if key in self._strangers or not self.mark:
            return False
        if f"{_MARK}={self.mark}".encode() in _read(Path(f"/proc/{key[0]}/environ")):
            return True
        self._strangers.add(key)
        return False


def marked_environment(mark: str) -> dict[str, str]:
    """Returns the environment variable by which a program's processes are known, whoever their parent is."""
    return {_MARK: mark}


def marked_processes(mark: str) -> list[int]:
    """Returns the living processes that were started with `marked_environment(mark)`."""
    wanted = f"{_MARK}={mark}".encode()
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if wanted in _read(path / "environ").split(b"\0")]


def command_of(process: int) -> str:
    """Returns a process's command line, or the title that it gave itself; empty when it ended."""
    return _read(Path(f"/proc/{process}/cmdline")).replace(b"\0", b" ").decode(errors="replace").strip()


def _read_stat(folder: Path) -> tuple[ProcessKey, tuple[int, int]] | None:
    """Returns a process's key, parent and CPU ticks."""
    fields = _read(folder / "stat").rpartition(b")")[2].split()
    if len(fields) < 20:
        return None
    return (int(folder.name), fields[19].decode()), (int(fields[1]), int(fields[11]) + int(fields[12]))


def memory_of(process: int | str) -> int:
    """Returns a process's proportional set size, bytes; 0 when it ended.

    Args:
        process: Its number, or "self".
    """
    for line in _read(Path(f"/proc/{process}/smaps_rollup")).splitlines():
        if line.startswith(b"Pss:"):
            return 1024 * int(line.split()[1])
    return 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended, or is somebody else's
        return b""


def _gpu_state() -> tuple[float, int] | None:
    """Returns the busy share and the bytes in use, summed over the GPUs; None when they cannot be asked."""
    query = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    try:
        rows = [[float(value) for value in line.split(",")] for line in answer.stdout.strip().splitlines()]
        return sum(row[0] for row in rows) / 100, int(sum(row[1] for row in rows) * 2**20)
    except (ValueError, IndexError):
        return None
