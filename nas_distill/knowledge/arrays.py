"""`.npy` files: written sequentially with a checksum, verified, and memory-mapped."""

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
from nas_distill.run_directory.arrays import map_array
from nas_distill.run_directory.failpoints import reach
from nas_distill.run_directory.receipts import FileReceipt

RESUME_HINT = "resume the search to run the teacher again"


class ArrayWriter:
    """Writes one `.npy` file sequentially; the file gets its final name in `finish`.

    Not through a memory map: on a full disk a map kills the process (SIGBUS), a write raises OSError.

    Args:
        path: File to write; its folder exists.
        dtype: Type of the numbers.
        shape: Shape of the whole array.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self._path = path
        self._dtype = dtype
        self._rows_left = shape[0]
        self._num_bytes = 0
        self._digest = hashlib.sha256()
        # The process ID keeps two writers of one file apart: a worker that was given up may still be running.
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._stream = self._temporary.open("wb")
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        )
        self._write(header.getbuffer())

    def append(self, rows: NDArray[Any]) -> None:
        """Write the next rows.

        Raises:
            OSError: The write failed.
        """
        assert rows.dtype == self._dtype
        self._rows_left -= len(rows)
        self._write(np.ascontiguousarray(rows).data.cast("B"))

    def finish(self) -> FileReceipt:
        """Flush the file to disk, give it its final name and return its receipt.

        Raises:
            OSError: The write failed.
        """
        assert self._rows_left == 0
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        reach("before rename", self._path)
        self._temporary.replace(self._path)
        reach("after rename", self._path)
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
    """Remove the temporary files of killed writers from `folder`."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def map_stored(path: Path, dtype: np.dtype[Any], shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Return an array of the teacher's outputs as a memory map (see `map_array`).

    Raises:
        RunError: The file is missing, damaged, or of another type or shape.
    """
    try:
        return map_array(path, dtype, shape, code="knowledge.damaged_file")
    except RunError as error:
        raise with_hint(error) from error


def with_hint(error: RunError, hint: str = RESUME_HINT) -> RunError:
    """Return a copy of `error` whose message ends with `hint`."""
    return RunError(f"{error.args[0]}; {hint}", code=error.code, field=error.field)
