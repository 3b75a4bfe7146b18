"""Checks of the machine and the installation, for `nas_distill doctor`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from nas_distill.diagnostics.check_result import Check, CheckStatus
from nas_distill.diagnostics.machine import (
    check_cpus,
    check_disk,
    check_memory,
    check_shared_memory,
    check_sqlite,
)
from nas_distill.diagnostics.packages import (
    check_cluster,
    check_packages,
    check_python,
    check_ray,
    check_ray_task,
    check_torch,
)

__all__ = ["Check", "CheckStatus", "run_checks"]


def run_checks(folder: Path, *, with_ray: bool, address: str | None = None) -> Iterator[Check]:
    """Run all checks and yield their results, quick ones first.

    Args:
        folder: Folder for run directories; its disk and file locks are checked.
        with_ray: Whether to start a local Ray and run one task.
        address: Address of a Ray cluster whose nodes are checked; None for none.
    """
    yield check_python()
    yield check_packages()
    yield check_cpus()
    yield check_memory()
    yield check_disk(folder)
    yield check_shared_memory(Path("/dev/shm"))  # noqa: S108 - checks the mount itself
    yield check_sqlite(folder)
    yield from check_torch(driver=shutil.which("nvidia-smi") is not None)
    yield check_ray()
    if with_ray:
        yield check_ray_task()
    if address is not None:
        yield from check_cluster(address, folder)
