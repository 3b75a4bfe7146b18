"""Writing a network's weights, and their digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from nas_distill.run_directory.files import write_atomic


def save_weights(network: nn.Module, path: Path) -> None:
    """Writes a network's state as safetensors, by the names of its `state_dict`.

    Raises:
        RunError: The file system refused.
    """
    # Copies, since safetensors refuses tensors that share memory, as tied weights do.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
    write_atomic(path, lambda temporary: safetensors.torch.save_file(tensors, temporary))


def weights_sha256(network: nn.Module) -> str:
    """Returns the SHA-256 of all parameters and buffers, names included."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
