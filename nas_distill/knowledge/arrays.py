"""`.npy` files: written from front to back with a checksum, checked, and mapped."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nas_distill.errors import RunError
from nas_distill.knowledge.layout import FileReceipt

RESUME_HINT = "resume the search, which asks the teacher again"


class ArrayWriter:
    """Writes one `.npy` file in sequence; it appears under its name when `finish` is called, and not before.

    In sequence, not through a memory map: on a full disk a map kills the process, a write reports it.

    Args:
        path: The file; its folder exists.
        dtype: Of the numbers.
        shape: Of the whole array.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self._path = path
        self._dtype = dtype
        self._rows_left = shape[0]
        self._num_bytes = 0
        self._digest = hashlib.sha256()
        # The process's number keeps two writers of one file apart, should a lost worker live on.
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._stream = self._temporary.open("wb")
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        )
        self._write(header.getbuffer())

    def append(self, rows: NDArray[Any]) -> None:
        """Writes the next rows.

        Raises:
            OSError: The file system refused.
        """
        assert rows.dtype == self._dtype
        self._rows_left -= len(rows)
        self._write(np.ascontiguousarray(rows).data.cast("B"))

    def finish(self) -> FileReceipt:
        """Makes the file durable and gives it its name.

        Raises:
            OSError: The file system refused.
        """
        assert self._rows_left == 0
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        self._temporary.replace(self._path)
        return FileReceipt(name=self._path.name, num_bytes=self._num_bytes, sha256=self._digest.hexdigest())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stream.close()
        finally:
            self._temporary.unlink(missing_ok=True)

    def _write(self, content: memoryview) -> None:
        self._stream.write(content)
        self._digest.update(content)
        self._num_bytes += content.nbytes


def remove_temporary_files(folder: Path) -> None:
    """Removes what killed writers left in `folder`."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def check_file(folder: Path, receipt: FileReceipt) -> None:
    """Reads a file of `folder` and compares it with its receipt.

    Raises:
        RunError: It is not as it was written.
    """
    path = folder / receipt.name
    try:
        num_bytes = path.stat().st_size
        if num_bytes != receipt.num_bytes:
            raise RunError(f"{path}: is {num_bytes:,} bytes long, and {receipt.num_bytes:,} were written")
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from error
    if digest != receipt.sha256:
        raise RunError(f"{path}: is damaged: its checksum is not that of what was written")


def map_array(path: Path, dtype: np.dtype[Any], shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Returns the array in `path` as a memory map, one copy for all processes of a machine.

    The map is copy-on-write: torch takes no read-only memory, and nobody's write may reach the file.

    Args:
        path: The file.
        dtype: What it must hold.
        shape: Likewise; None stands for any number.

    Raises:
        RunError: The file is missing, damaged or of another shape or kind.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise RunError(f"{path}: cannot be read: {error}; {RESUME_HINT}") from error
    fits = len(shape) == array.ndim and all(w in (None, h) for w, h in zip(shape, array.shape, strict=True))
    if not fits or array.dtype != dtype:
        raise RunError(f"{path}: holds {array.dtype} {array.shape} and not {dtype} {shape}; {RESUME_HINT}")
    return array
