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
    """Count the CPUs that this process may use, taking the quota of a container into account."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup("cpu.max").split()
    if len(quota) == 2 and quota[0] != "max":
        share = int(quota[0]) / int(quota[1])
        if share < usable:
            return Check(
                name="CPUs", status=CheckStatus.WARN, finding=f"{usable}, the container may use {share:.1f}",
                fix=f"pass --max-parallel {max(1, int(share))}, so that trials do not share a CPU",
            )  # fmt: skip
    return Check(name="CPUs", status=CheckStatus.OK, finding=f"{usable}")


def check_memory() -> Check:
    """Check the memory: a worker with PyTorch and timm takes nearly 1 GiB."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _cgroup("memory.max")
    total = min(total, int(limit)) if limit.isdigit() else total
    finding = f"{total / GIB:.1f} GiB"
    if total < 3 * GIB:
        fix = "pass --max-parallel 1: each worker takes nearly 1 GiB, in addition to Ray and the driver"
        return Check(name="memory", status=CheckStatus.WARN, finding=finding, fix=fix)
    return Check(name="memory", status=CheckStatus.OK, finding=finding)


def check_disk(folder: Path) -> Check:
    """Check the free disk space in `folder`."""
    free = shutil.disk_usage(folder).free
    finding = f"{free / GIB:.1f} GiB free in {folder}"
    if free < 5 * GIB:
        status = CheckStatus.FAIL if free < GIB // 2 else CheckStatus.WARN
        return Check(
            name="disk", status=status, finding=finding, fix="free disk space, or choose another disk with --out"
        )
    return Check(name="disk", status=CheckStatus.OK, finding=finding)


def check_shared_memory(mount: Path) -> Check:
    """Check the size of the shared memory, where Ray stores objects."""
    if not mount.is_dir():
        return Check(
            name="shared memory", status=CheckStatus.OK, finding=f"{mount} does not exist; Ray uses a folder of its own"
        )
    size = shutil.disk_usage(mount).total
    finding = f"{mount} holds {size / MIB:,.0f} MiB"
    if size < 256 * MIB:
        fix = "in a container pass --shm-size=2g: with less, Ray uses the slower disk"
        return Check(name="shared memory", status=CheckStatus.WARN, finding=finding, fix=fix)
    return Check(name="shared memory", status=CheckStatus.OK, finding=finding)


def check_sqlite(folder: Path) -> Check:
    """Write a database in `folder` and check that a second writer is locked out."""
    name, finding = "SQLite", f"{sqlite3.sqlite_version} writes and locks in {folder}"
    fix = "choose a local disk with --out, or store the study on a database server with --storage"
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-", ignore_cleanup_errors=True) as place:
            locked = _second_writer_is_locked_out(Path(place) / "test.db")
    except (OSError, sqlite3.Error) as error:
        return Check(name=name, status=CheckStatus.FAIL, finding=f"{folder}: {error}", fix=fix)
    if not locked:
        finding = f"{folder}: two writers could write at the same time; this file system does not support locks"
        return Check(name=name, status=CheckStatus.FAIL, finding=finding, fix=fix)
    return Check(name=name, status=CheckStatus.OK, finding=finding)


def _second_writer_is_locked_out(path: Path) -> bool:
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
    """Return a cgroup v2 limit of this container; empty if there is none."""
    try:
        return (Path("/sys/fs/cgroup") / name).read_text(encoding="ascii").strip()
    except OSError:
        return ""
