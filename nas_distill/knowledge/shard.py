"""Read the shard of one view: rows gathered from a memory map, or from a copy on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas_distill.errors import ConfigError
from nas_distill.knowledge.arrays import map_stored
from nas_distill.knowledge.encoding import TopLogits, spread_tail
from nas_distill.knowledge.layout import KnowledgeFolder, ShardShape

_RESIDENT_FRACTION = 0.25
"""An array is copied to a GPU if it takes at most this fraction of the free memory; models and other trials need the
rest."""

_UINT16_MASK = 0xFFFF


class Shard:
    """The teacher's stored outputs for one view.

    On a CPU, rows are gathered from the memory-mapped file, so all processes of a machine share its pages. On a GPU,
    an array is copied to the device if it takes at most a quarter of the free memory; rows of a larger array are
    gathered into pinned memory and uploaded.

    Args:
        folder: Knowledge folder.
        view: View number.
        shape: Shapes of the arrays.
        device: Device of the returned rows.

    Raises:
        RunError: A file is missing or has another shape.
    """

    def __init__(self, folder: KnowledgeFolder, view: int, shape: ShardShape, device: torch.device) -> None:
        self._shape = shape
        self._folder = folder.path
        self._arrays = {
            name: _Rows(map_stored(folder.array(view, name), array.dtype, (shape.num_images, *array.row)), device)
            for name, array in shape.arrays.items()
        }

    def logits(self, indices: Tensor) -> Tensor:
        """Return the logits of the images at `indices`, int64 [B], as float32 [B, C] on the device."""
        arrays = self._arrays
        if not all(array.is_resident for array in arrays.values()):
            indices = indices.cpu()  # once for all arrays, because the host waits for the device here
        if not self._shape.top_k:
            return arrays["logits"].at(indices).float()
        classes = arrays["top_classes"].at(indices).long()
        if arrays["top_classes"].is_uint16:
            classes &= _UINT16_MASK
        stored = TopLogits(arrays["top_logits"].at(indices), classes, arrays["tail"].at(indices))
        return spread_tail(stored, self._shape.num_classes)

    def embeddings(self, indices: Tensor) -> Tensor:
        """Return the embeddings of the images at `indices`, int64 [B], as float32 [B, D] on the device.

        Raises:
            ConfigError: Embeddings are not stored.
        """
        if not self._shape.embedding_size:
            raise ConfigError(
                f"embeddings are not stored in {self._folder}; set teacher.embeddings=true in a new search",
                code="knowledge.embeddings_not_stored",
                field="teacher.embeddings",
            )
        return self._arrays["embeddings"].at(indices).float()


class _Rows:
    """One array, held where its rows are gathered fastest."""

    def __init__(self, array: NDArray[Any], device: torch.device) -> None:
        self.is_uint16 = array.dtype == np.uint16
        # PyTorch cannot gather uint16; int16 has the same bits.
        self._tensor = torch.from_numpy(array.view(np.int16) if self.is_uint16 else array)
        self._device = device
        self.is_resident = device.type == "cpu"
        if device.type == "cuda" and array.nbytes <= _RESIDENT_FRACTION * _free_memory(device):
            self._tensor = self._tensor.to(device)
            self.is_resident = True

    def at(self, indices: Tensor) -> Tensor:
        """Return the rows at `indices`, int64 [B], on the device."""
        if self.is_resident:
            return self._tensor.index_select(0, indices.to(self._tensor.device))
        rows = torch.empty((len(indices), *self._tensor.shape[1:]), dtype=self._tensor.dtype, pin_memory=True)
        torch.index_select(self._tensor, 0, indices.cpu(), out=rows)
        # The pinned block may be freed while the copy runs: the caching allocator reuses it only afterwards.
        return rows.to(self._device, non_blocking=True)


def _free_memory(device: torch.device) -> int:
    """Return the bytes that this process can still allocate, including those its allocator holds in reserve."""
    free, _ = torch.cuda.mem_get_info(device)
    return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
