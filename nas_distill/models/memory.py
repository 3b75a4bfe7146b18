"""Detect errors of exhausted memory and lost devices, and retry with smaller batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

_Found = TypeVar("_Found")

_SIGNS = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the device or the host has no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in _SIGNS)


def is_context_lost(error: BaseException) -> bool:
    """Return whether an error means that the GPU context is lost, after which nothing runs on the device."""
    return "CUDA error" in str(error)


def with_halved_batches(work: Callable[[int], _Found], size: int, device: torch.device) -> _Found:
    """Return `work(size)`; after each out-of-memory error, retry with half the size.

    Args:
        work: Function of the batch size. It is started again after an out-of-memory error.
        size: Largest batch size, images.
        device: Device whose memory is used.

    Raises:
        RuntimeError: The memory is too small for a single image, or `work` raised another error.
    """
    while True:
        try:
            return work(size)
        except RuntimeError as error:
            if size == 1 or not is_out_of_memory(error):
                raise
        # Outside the handler, because the error holds the tensors of the failed pass.
        size //= 2
        if device.type == "cuda":
            torch.cuda.empty_cache()
