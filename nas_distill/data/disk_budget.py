"""Decide whether decoded images are cached, and check the free disk space."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from nas_distill.errors import RunError

_MIB = 2**20
_MEMORY_FRACTION = 0.5
_DISK_FRACTION = 0.25
_CGROUP_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")


def default_memory_budget(folder: Path) -> int:
    """Return the default size limit of the decoded-image cache in `folder`, in bytes.

    The limit is half of the memory or a quarter of the free disk, whichever is less. Cached images are memory-mapped
    files: they take disk space, and reads are fast while the page cache holds them. The other half of the memory is
    for the trials; the rest of the disk is for the teacher's stored outputs, checkpoints and further runs.

    Args:
        folder: Run directory; it need not exist yet.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = _CGROUP_MEMORY_LIMIT.read_text(encoding="ascii").strip()
    except OSError:
        limit = ""
    memory = min(memory, int(limit)) if limit.isdigit() else memory
    return int(min(_MEMORY_FRACTION * memory, _DISK_FRACTION * _free_bytes(folder)))


def check_disk_space(folder: Path, num_bytes: int) -> None:
    """Check, before decoding starts, that the disk has room for the decoded images.

    Args:
        folder: Folder that will hold the images; it need not exist yet.
        num_bytes: Size of the decoded images, bytes.

    Raises:
        RunError: The disk has less free space.
    """
    free = _free_bytes(folder)
    if num_bytes > free:
        raise RunError(
            f"decoded images need {num_bytes / _MIB:,.1f} MiB but only {free / _MIB:,.1f} MiB are free; free disk "
            "space, choose another --out, or lower data.memory_budget_mib to decode images during training instead",
            code="data.no_disk_space",
            field=str(folder),
        )


def _free_bytes(folder: Path) -> int:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free
