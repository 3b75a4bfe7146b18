"""Checks of the machine: CPUs, memory, disk, shared memory, file locks."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

from nas_distill.diagnostics.check_result import Check, CheckStatus

MIB = 2**20
GIB = 2**30


def check_cpus() -> Check:
    """Counts the CPUs that this process may use, a container's quota included."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup("cpu.max").split()
    if len(quota) == 2 and quota[0] != "max":
        share = int(quota[0]) / int(quota[1])
        if share < usable:
            return Check(
                name="CPUs", status=CheckStatus.WARN, found=f"{usable}, the container may use {share:.1f}",
                fix=f"pass --max-parallel {max(1, int(share))}, so that trials do not share a CPU",
            )  # fmt: skip
    return Check(name="CPUs", status=CheckStatus.OK, found=f"{usable}")


def check_memory() -> Check:
    """Checks the memory: a worker with torch and timm takes nearly 1 GiB."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _cgroup("memory.max")
    total = min(total, int(limit)) if limit.isdigit() else total
    found = f"{total / GIB:.1f} GiB"
    if total < 3 * GIB:
        fix = "pass --max-parallel 1; each trial's worker takes nearly 1 GiB besides Ray and the driver"
        return Check(name="memory", status=CheckStatus.WARN, found=found, fix=fix)
    return Check(name="memory", status=CheckStatus.OK, found=found)


def check_disk(folder: Path) -> Check:
    """Checks the free space where runs will lie."""
    free = shutil.disk_usage(folder).free
    found = f"{free / GIB:.1f} GiB free in {folder}"
    if free < 5 * GIB:
        status = CheckStatus.FAIL if free < GIB // 2 else CheckStatus.WARN
        return Check(name="disk", status=status, found=found, fix="free space, or put runs elsewhere by --out")
    return Check(name="disk", status=CheckStatus.OK, found=found)


def check_shared_memory(mount: Path) -> Check:
    """Checks the shared memory that Ray keeps its objects in."""
    if not mount.is_dir():
        return Check(name="shared memory", status=CheckStatus.OK, found=f"no {mount} here; Ray uses its own folder")
    size = shutil.disk_usage(mount).total
    found = f"{mount} holds {size / MIB:,.0f} MiB"
    if size < 256 * MIB:
        fix = "in a container pass --shm-size=2g; with less, Ray falls back to the slower disk"
        return Check(name="shared memory", status=CheckStatus.WARN, found=found, fix=fix)
    return Check(name="shared memory", status=CheckStatus.OK, found=found)


def check_sqlite(folder: Path) -> Check:
    """Writes a real database in `folder` and checks that a second writer is kept out."""
    name, found = "SQLite", f"{sqlite3.sqlite_version} writes and locks in {folder}"
    fix = "put runs on a local disk by --out, or the study into a database server by --storage"
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-", ignore_cleanup_errors=True) as place:
            locked = _second_writer_is_kept_out(Path(place) / "test.db")
    except (OSError, sqlite3.Error) as error:
        return Check(name=name, status=CheckStatus.FAIL, found=f"{folder}: {error}", fix=fix)
    if not locked:
        found = f"{folder}: two writers at once were let in; this file system does not lock"
        return Check(name=name, status=CheckStatus.FAIL, found=found, fix=fix)
    return Check(name=name, status=CheckStatus.OK, found=found)


def _second_writer_is_kept_out(path: Path) -> bool:
    first = sqlite3.connect(path, isolation_level=None)
    second = sqlite3.connect(path, isolation_level=None, timeout=0)
    try:
        first.execute("CREATE TABLE t (x INTEGER)")
        first.execute("BEGIN IMMEDIATE")
        first.execute("INSERT INTO t VALUES (1)")
        try:
            second.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            locked = True
        else:
            locked = False
            second.execute("ROLLBACK")
        first.execute("COMMIT")
        return locked and second.execute("SELECT x FROM t").fetchone() == (1,)
    finally:
        first.close()
        second.close()


def _cgroup(name: str) -> str:
    """Returns a limit of this container (cgroup v2); empty when there is none to read."""
    try:
        return (Path("/sys/fs/cgroup") / name).read_text(encoding="ascii").strip()
    except OSError:
        return ""
