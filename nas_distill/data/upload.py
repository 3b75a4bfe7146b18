"""`Uploader`: copy images from host memory to a device while the device computes."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


class Uploader:
    """Copies images to one device; on CUDA in a separate stream.

    The host runs ahead of the device: it requests the next images while the previous step is still being computed. A
    copy in a separate stream starts at once and overlaps with that step. The host waits for neither.

    Args:
        device: Destination of the images.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = _copy_stream(device) if device.type == "cuda" else None

    def staging(self, shape: tuple[int, ...]) -> Tensor:
        """Return a host buffer to fill and upload, uint8 of the given shape; page-locked if the device is a GPU.

        PyTorch reuses the memory of earlier buffers once their copies have finished.
        """
        return torch.empty(shape, dtype=torch.uint8, pin_memory=self._stream is not None)

    def __call__(self, images: Tensor) -> Tensor:
        """Return `images` on the device, ready for its current stream.

        Args:
            images: Images on the host; only copies from page-locked memory overlap with computation.
        """
        if self._stream is None:
            return images.to(self._device)
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            copy = images.to(self._device, non_blocking=True)
        current.wait_stream(self._stream)
        # The copy was allocated for the copy stream. Its memory must not be reused before the current stream is done
        # with it.
        copy.record_stream(current)
        return copy


@lru_cache(maxsize=32)
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    # One stream for all passes: the allocator does not share memory between streams.
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
