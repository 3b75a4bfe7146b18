"""Receipts: size and checksum of files that are too large to be read at once."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import NonNegativeInt

from nas_distill.errors import RunError
from nas_distill.records.base import Record

_FileVersion = tuple[str, int, int, int]
"""Path, inode, size in bytes and time of the last change in nanoseconds."""


class FileReceipt(Record):
    """Size and checksum of a complete file.

    Attributes:
        name: File name without its folder.
        num_bytes: Size, bytes.
        sha256: SHA-256 of the content, hexadecimal.
    """

    name: str
    num_bytes: NonNegativeInt
    sha256: str


_verified: dict[_FileVersion, FileReceipt] = {}
"""Files that this process has compared with their receipts."""


def receipt_path(path: Path) -> Path:
    """Return the path of the receipt of a file: its name with the suffix `.json`."""
    return path.with_suffix(".json")


def make_receipt(path: Path) -> FileReceipt:
    """Return the receipt of a file.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return FileReceipt(name=path.name, num_bytes=path.stat().st_size, sha256=digest)


def check_receipt(path: Path, receipt: FileReceipt, *, code: str) -> None:
    """Compare size and checksum of a file with its receipt. A process reads an unchanged file once.

    Args:
        path: The file.
        receipt: Its receipt.
        code: Code of the error.

    Raises:
        RunError: The file cannot be read, or differs from its receipt.
    """
    try:
        status = path.stat()
        if status.st_size != receipt.num_bytes:
            problem = f"the file has {status.st_size:,} bytes instead of {receipt.num_bytes:,}"
            raise RunError(problem, code=code, field=str(path))
        version = (str(path.absolute()), status.st_ino, status.st_size, status.st_mtime_ns)
        if _verified.get(version) == receipt:
            return
        found = make_receipt(path)
    except OSError as error:
        raise RunError(f"cannot be read: {error.strerror or error}", code=code, field=str(path)) from error
    if found != receipt:
        raise RunError("the checksum of the file has changed", code=code, field=str(path))
    _verified[version] = receipt
