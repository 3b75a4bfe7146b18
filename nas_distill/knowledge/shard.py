"""Reading one view's slab: rows gathered from a memory map, or from the device that holds it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas_distill.errors import ConfigError
from nas_distill.knowledge.arrays import map_array
from nas_distill.knowledge.encoding import TopLogits, spread_tail
from nas_distill.knowledge.layout import KnowledgeFolder, ShardShape

_RESIDENT_SHARE = 0.25
"""An array over this share of a device's free memory stays on the host; models and other trials need the rest."""

_UINT16 = 0xFFFF


class Shard:
    """The stored answers to one view.

    On a CPU rows are gathered from the file's memory map, so that all processes of a machine share its pages. On a
    GPU an array is copied to the device when it takes at most a quarter of the free memory; of a larger one the rows
    are gathered into pinned memory.

    Args:
        folder: Where it lies.
        view: Which view.
        shape: What it holds.
        device: Where rows are wanted.

    Raises:
        RunError: A file is missing, or of another shape.
    """

    def __init__(self, folder: KnowledgeFolder, view: int, shape: ShardShape, device: torch.device) -> None:
        self._shape = shape
        self._folder = folder.path
        self._rows = {
            name: _Rows(map_array(folder.array(view, name), array.dtype, (shape.num_images, *array.row)), device)
            for name, array in shape.arrays.items()
        }

    def logits(self, indices: Tensor) -> Tensor:
        """Returns the logits at `indices`, int64 [B], as float32 [B, C] on the device."""
        rows = self._rows
        if not all(array.at_hand for array in rows.values()):
            indices = indices.cpu()  # once for all arrays: the host waits for the device here
        if not self._shape.top_k:
            return rows["logits"].at(indices).float()
        classes = rows["top_classes"].at(indices).long()
        if rows["top_classes"].is_uint16:
            classes &= _UINT16
        kept = TopLogits(rows["top_logits"].at(indices), classes, rows["tail"].at(indices))
        return spread_tail(kept, self._shape.num_classes)

    def embeddings(self, indices: Tensor) -> Tensor:
        """Returns the embeddings at `indices`, int64 [B], as float32 [B, D] on the device.

        Raises:
            ConfigError: They are not stored.
        """
        if not self._shape.embedding_size:
            raise ConfigError(
                f"teacher.embeddings: {self._folder} holds no embeddings; set teacher.embeddings=true in a new search"
            )
        return self._rows["embeddings"].at(indices).float()


class _Rows:
    """One array, kept where its rows are gathered fastest."""

    def __init__(self, array: NDArray[Any], device: torch.device) -> None:
        self.is_uint16 = array.dtype == np.uint16
        # torch gathers no uint16; the bits are the same.
        self._tensor = torch.from_numpy(array.view(np.int16) if self.is_uint16 else array)
        self._device = device
        self.at_hand = device.type == "cpu"
        if device.type == "cuda" and array.nbytes <= _RESIDENT_SHARE * _free_memory(device):
            self._tensor = self._tensor.to(device)
            self.at_hand = True

    def at(self, indices: Tensor) -> Tensor:
        """Returns the rows at `indices`, int64 [B], on the device."""
        if self.at_hand:
            return self._tensor.index_select(0, indices.to(self._tensor.device))
        rows = torch.empty((len(indices), *self._tensor.shape[1:]), dtype=self._tensor.dtype, pin_memory=True)
        torch.index_select(self._tensor, 0, indices.cpu(), out=rows)
        # The caching allocator gives a pinned block out again only when the copy is done.
        return rows.to(self._device, non_blocking=True)


def _free_memory(device: torch.device) -> int:
    """Returns the bytes that this process could still allocate, those included that its allocator keeps in reserve."""
    free, _ = torch.cuda.mem_get_info(device)
    return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
