"""`Uploader`: from host memory to a device while the device computes."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


class Uploader:
    """Copies images to one device, on CUDA in a stream of their own.

    The host is ahead of the device: it asks for the next images while the step before is still being computed. In a
    stream of its own the copy starts at once and runs beside that step; the host waits for neither.

    Args:
        device: Where the images are wanted.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = _copy_stream(device) if device.type == "cuda" else None

    def staging(self, shape: tuple[int, ...]) -> Tensor:
        """Returns host memory to fill and upload, uint8 of this shape; page-locked where that makes copies overlap.

        The memory of earlier uploads is used again once their copies are done.
        """
        return torch.empty(shape, dtype=torch.uint8, pin_memory=self._stream is not None)

    def __call__(self, images: Tensor) -> Tensor:
        """Returns `images` on the device, for its current stream.

        Args:
            images: On the host, page-locked where the copy shall overlap.
        """
        if self._stream is None:
            return images.to(self._device)
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            copy = images.to(self._device, non_blocking=True)
        current.wait_stream(self._stream)
        # Allocated for the copying stream: its memory may be given away only once the computing one is done with it.
        copy.record_stream(current)
        return copy


@lru_cache(maxsize=32)
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    # One for all passes: the allocator keeps the memory of each stream apart.
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
