"""Atomic writes, JSON records, and one-line errors of the file system.

Every write goes to a temporary file, which is synced and renamed: a reader sees the old content or the new one, never a
part of it.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError

from nas_distill.errors import RunError
from nas_distill.records.base import Record, parse_sealed, seal
from nas_distill.run_directory.failpoints import reach

_UMASK = os.umask(0)
os.umask(_UMASK)

_FREE_SPACE = ("run.disk_full", "free space, then continue with --resume, or choose another --out")
_READ_ONLY = ("run.read_only", "make the file system writable, then continue with --resume, or choose another --out")
_WRITE_ERRORS = {
    errno.ENOSPC: _FREE_SPACE, errno.EDQUOT: _FREE_SPACE, errno.EROFS: _READ_ONLY,
}  # fmt: skip

_ALMOST_FULL_BYTES = 2**20

RecordT = TypeVar("RecordT", bound=Record)


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Replace the content of `path` completely or not at all.

    Args:
        path: File to replace; its folder is created if it is missing.
        write: Function that writes the whole content to the temporary path that it receives.

    Raises:
        RunError: The file system reports an error, such as a full disk or a missing permission.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            reach("before write", path)
            write(temporary)
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
            temporary.chmod(0o666 & ~_UMASK)  # the mode of `open`; that of mkstemp is stricter
            reach("before rename", path)
            temporary.replace(path)
            reach("after rename", path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:  # safetensors wraps errors of the file system
        raise unwritable(path, error) from error
    sync_directory(path.parent)


def append_line(path: Path, line: str, *, durable: bool = True) -> None:
    """Append a line of text to a log. A last line that a crash left incomplete stays a line of its own.

    Args:
        path: The log; it and its folder are created if they are missing.
        line: Text without a line feed.
        durable: Whether to wait until the line is on disk.

    Raises:
        RunError: The log cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        reach("before append", path)
        with path.open("ab+") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(size - 1, 0))
            is_torn = stream.read(1) not in {b"", b"\n"}
            stream.write(b"\n" * is_torn + line.encode() + b"\n")
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        reach("after append", path)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: Exception) -> RunError:
    """Return the error for a file that cannot be written, with the fix for its reason."""
    reason, number = getattr(error, "strerror", None) or str(error), getattr(error, "errno", None)
    for known, (code, fix) in _WRITE_ERRORS.items():
        # safetensors passes on the text of the error alone.
        if number == known or os.strerror(known) in reason:
            return RunError(f"cannot be written: {reason}; {fix}", code=code, field=str(path))
    fix = "check the path and its permissions, or choose another --out"
    return RunError(f"cannot be written: {reason}; {fix}", code="run.unwritable_file", field=str(path))


def check_disk_is_not_full(path: Path) -> None:
    """Check that the disk of a folder has some space left.

    Raises:
        RunError: It has less than `_ALMOST_FULL_BYTES`.
    """
    with suppress(OSError):
        if shutil.disk_usage(path).free < _ALMOST_FULL_BYTES:
            raise unwritable(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def sync_directory(path: Path) -> None:
    """Make a rename in the folder `path` durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically.

    Raises:
        RunError: The file cannot be written.
    """
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_record(path: Path, record: Record) -> None:
    """Write a record atomically, as indented JSON with a checksum.

    Raises:
        RunError: The file cannot be written.
    """
    write_text(path, seal(record, indent=1) + "\n")


@contextmanager
def reading(origin: object) -> Iterator[None]:
    """Turn errors of the file system inside the context into one-line errors.

    Args:
        origin: Path that is read, or the flag that names it.

    Raises:
        RunError: The file system reports an error, such as a missing file or permission, or a name that is too long.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise RunError(
            f"cannot be read: {reason}; check the path and its permissions",
            code="run.unreadable_file",
            field=str(origin),
        ) from error


def read_record(path: Path, model: type[RecordT]) -> RecordT:
    """Return the record in the JSON file `path`.

    Args:
        path: File to read.
        model: Class of the record.

    Raises:
        RunError: The file is missing, damaged, or was written by another version.
    """
    with reading(path):
        text = path.read_bytes()
    return parse_sealed(model, text, origin=str(path))
