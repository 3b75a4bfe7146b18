"""Telling a lack of memory, or of a working device, from other errors, and going on with less."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

_Found = TypeVar("_Found")

_SIGNS = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the device, or the host, has no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in _SIGNS)


def is_context_lost(error: BaseException) -> bool:
    """Return whether the process's GPU context is lost: nothing runs on the device any more."""
    return "CUDA error" in str(error)


def with_halved_batches(work: Callable[[int], _Found], size: int, device: torch.device) -> _Found:
    """Return what `work` does in batches of `size`, or of half as many as often as memory does not suffice.

    Args:
        work: Told the size of its batches; begun anew after a lack of memory.
        size: Images per batch, at most.
        device: Whose memory it is.

    Raises:
        RuntimeError: Memory does not suffice for a single image; and whatever else `work` raises.
    """
    while True:
        try:
            return work(size)
        except RuntimeError as error:
            if size == 1 or not is_out_of_memory(error):
                raise
        # Outside the handler, which holds the failed pass's tensors.
        size //= 2
        if device.type == "cuda":
            torch.cuda.empty_cache()
