"""Open `.npy` files as memory maps, whatever their headers say."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_distill.errors import RunError

DAMAGED_ARRAY = (
    OSError, ValueError, EOFError, SyntaxError, TypeError, OverflowError, MemoryError, KeyError, RecursionError,
    NotImplementedError, RuntimeError, tokenize.TokenError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What NumPy raises for damaged `.npy` and `.npz` files, and for headers made to do harm.

`NotImplementedError` is zipfile's, for a compression that a flipped byte names.
"""


def map_array(path: Path, dtype: np.dtype[Any], shape: tuple[int | None, ...], *, code: str) -> NDArray[Any]:
    """Return the array in `path` as a memory map; all processes of a machine share its pages.

    The map is copy-on-write: PyTorch needs writable memory, and no write may reach the file.

    Args:
        path: The `.npy` file.
        dtype: Expected type.
        shape: Expected shape; None stands for any length.
        code: Code of the error.

    Raises:
        RunError: The file is missing, damaged, or of another type or shape.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    except DAMAGED_ARRAY as error:
        raise RunError(f"cannot be read: {' '.join(str(error).split())[:200]}", code=code, field=str(path)) from error
    fits = len(shape) == array.ndim and all(w in (None, h) for w, h in zip(shape, array.shape, strict=True))
    if not fits or array.dtype != dtype:
        problem = f"holds {array.dtype} {array.shape} instead of {dtype} {shape}"
        raise RunError(problem, code=code, field=str(path))
    return array
