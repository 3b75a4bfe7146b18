"""Run a program and measure the resources of all its processes through `/proc` (Linux only)."""

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
"""Process ID and start time; the ID alone may be reused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Resources used by all processes of a program.

    Attributes:
        started_at: Start, Unix time.
        wall_s: Wall time from start to end.
        cpu_s: User and system time; up to the last half second of each process may be missing.
        peak_memory_bytes: Largest sum of proportional set sizes (shared pages counted once), sampled every two seconds.
        gpu_s: GPU time, in seconds with a kernel running, summed over all GPUs; None without a GPU.
        peak_gpu_bytes: Largest memory in use, summed over all GPUs; None without a GPU.
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
    """Run a command and wait for it.

    Args:
        command: Program and arguments.
        folder: Working directory. Standard error is written to `stderr.txt` in it.
        environment: Variables added to this process's environment.

    Raises:
        RuntimeError: The exit status is not 0.
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
        raise RuntimeError(f"{' '.join(command)}: exit status {process.returncode}:\n{tail}")
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
    """A thread that samples a process and all its descendants until the context ends.

    Args:
        root: ID of the process.
        mark: Value of the environment variable that identifies processes whose parent has exited; empty counts
            descendants only.
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
        """CPU time so far, in seconds."""
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
        """Return the living processes of the program and record their CPU time."""
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
        # Read each environment once: some programs overwrite theirs when they change their title.
        if key in self._strangers or not self.mark:
            return False
        if f"{_MARK}={self.mark}".encode() in _read(Path(f"/proc/{key[0]}/environ")):
            return True
        self._strangers.add(key)
        return False


def marked_environment(mark: str) -> dict[str, str]:
    """Return the environment variable that identifies a program's processes, whoever their parent is."""
    return {_MARK: mark}


def marked_processes(mark: str) -> list[int]:
    """Return the IDs of living processes that were started with `marked_environment(mark)`."""
    wanted = f"{_MARK}={mark}".encode()
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if wanted in _read(path / "environ").split(b"\0")]


def command_of(process: int) -> str:
    """Return a process's command line, or the title that it set; empty if it has exited."""
    return _read(Path(f"/proc/{process}/cmdline")).replace(b"\0", b" ").decode(errors="replace").strip()


def _read_stat(folder: Path) -> tuple[ProcessKey, tuple[int, int]] | None:
    """Return a process's key, parent and CPU ticks; None if it has exited."""
    fields = _read(folder / "stat").rpartition(b")")[2].split()
    if len(fields) < 20:
        return None
    return (int(folder.name), fields[19].decode()), (int(fields[1]), int(fields[11]) + int(fields[12]))


def memory_of(process: int | str) -> int:
    """Return a process's proportional set size in bytes; 0 if it has exited.

    Args:
        process: Process ID, or "self".
    """
    for line in _read(Path(f"/proc/{process}/smaps_rollup")).splitlines():
        if line.startswith(b"Pss:"):
            return 1024 * int(line.split()[1])
    return 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has exited, or belongs to another user
        return b""


def _gpu_state() -> tuple[float, int] | None:
    """Return GPU utilisation (1 per fully busy GPU) and bytes in use, summed over GPUs; None if unavailable."""
    query = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    try:
        rows = [[float(value) for value in line.split(",")] for line in answer.stdout.strip().splitlines()]
        return sum(row[0] for row in rows) / 100, int(sum(row[1] for row in rows) * 2**20)
    except (ValueError, IndexError):
        return None
