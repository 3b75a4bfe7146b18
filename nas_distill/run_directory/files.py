"""Files that are whole: atomic writes, JSON records, and what the file system refuses, in one line.

Every write is temporary file, fsync, rename: a reader sees the old content or the new, never a torn one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError

from nas_distill.errors import RunError
from nas_distill.records.base import Record, parse_record

_UMASK = os.umask(0)
os.umask(_UMASK)

RecordT = TypeVar("RecordT", bound=Record)


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Gives `path` new content, all or nothing.

    Args:
        path: The file to replace; its folder is made when missing.
        write: Called with a temporary path beside it; must leave the whole content there.

    Raises:
        RunError: The file system refused (full disk, no permission).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
            temporary.chmod(0o666 & ~_UMASK)  # as `open` would have made it; mkstemp is stricter
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:  # safetensors wraps what the file system told it
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"{path}: cannot be written: {reason}; free space or choose another --out") from error
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Makes a rename in the folder `path` durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_record(path: Path, record: Record) -> None:
    """Writes a record as indented JSON, atomically."""
    write_text(path, record.model_dump_json(indent=1) + "\n")


@contextmanager
def reading(origin: object) -> Iterator[None]:
    """Tells in one line when the file system refuses to look at or read what the context looks at.

    Args:
        origin: A path, or the flag that names it.

    Raises:
        RunError: It does (no such file, a folder that may not be entered, a name that is too long).
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise RunError(f"{origin}: cannot be read: {reason}; check the path and its permissions") from error


def read_record(path: Path, model: type[RecordT]) -> RecordT:
    """Returns the record in the JSON file `path`.

    Raises:
        RunError: The file is missing or does not hold such a record.
    """
    with reading(path):
        text = path.read_bytes()
    return parse_record(model, text, origin=str(path))
