"""Whether decoded images are kept, and whether the disk has room for them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from nas_distill.errors import RunError

_MIB = 2**20
_SHARE_OF_MEMORY = 0.5
_SHARE_OF_DISK = 0.25
_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


def default_memory_budget(folder: Path) -> int:
    """Returns how many bytes of decoded images are worth keeping in `folder`, which may not exist yet.

    Memory maps are file pages: the disk holds them, and they are fast while the page cache does too. Half of the
    memory leaves the other half to the trials; a quarter of the free disk leaves room for the teacher's answers,
    checkpoints and the next run.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = _CONTAINER_LIMIT.read_text(encoding="ascii").strip()
    except OSError:
        limit = ""
    memory = min(memory, int(limit)) if limit.isdigit() else memory
    return int(min(_SHARE_OF_MEMORY * memory, _SHARE_OF_DISK * _free_bytes(folder)))


def check_disk_space(folder: Path, num_bytes: int) -> None:
    """Checks that the disk has room for decoded images before an hour is spent on decoding them.

    Raises:
        RunError: It has not.
    """
    free = _free_bytes(folder)
    if num_bytes > free:
        raise RunError(
            f"{folder}: the decoded images take {num_bytes / _MIB:,.0f} MiB and {free / _MIB:,.0f} MiB are free; free "
            "space, choose another --out, or set data.memory_budget_mib below that, so that loader workers decode them"
        )


def _free_bytes(folder: Path) -> int:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free
