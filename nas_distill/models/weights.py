"""Writing a network's weights."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from torch import nn

from nas_distill.files import write_atomic


def save_weights(network: nn.Module, path: Path) -> None:
    """Writes a network's state as safetensors, by the names of its `state_dict`.

    Raises:
        RunError: The file system refused.
    """
    # Copies, since safetensors refuses tensors that share memory, as tied weights do.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
    write_atomic(path, lambda temporary: safetensors.torch.save_file(tensors, temporary))
