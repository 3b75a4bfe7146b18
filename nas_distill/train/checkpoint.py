"""Save and load a training state as one safetensors file. Values that are not tensors are JSON in its header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from nas_distill.errors import RunError
from nas_distill.models.weights import tensors_sha256
from nas_distill.run_directory.files import write_atomic

_TENSOR = "\x00tensor"
_DTYPE = "\x00dtype"


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a nested state atomically.

    Args:
        path: File to write or replace.
        state: Nested mappings (with str or int keys) and sequences of tensors and JSON scalars, such as several
            `state_dict()`s by name.

    Raises:
        RunError: The file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = _extract_tensors(state, tensors)
    text = json.dumps(skeleton, allow_nan=False)
    header = {"state": text, "sha256": _digest(text, tensors)}
    write_atomic(path, lambda temporary: safetensors.torch.save_file(tensors, temporary, metadata=header))


def load_state(path: Path) -> dict[str, Any]:
    """Return the state that `save_state` wrote, with its tensors on the CPU.

    `load_state_dict` moves tensors to the right device. AdamW needs its step counts to stay on the CPU.

    Raises:
        RunError: The file is damaged.
    """
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as stored:
            text, digest = (stored.metadata()[name] for name in ("state", "sha256"))
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
        if digest != _digest(text, tensors):
            raise ValueError("its checksum does not match")
        state: dict[str, Any] = _insert_tensors(json.loads(text), tensors)
    except (OSError, safetensors.SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"it is damaged or not a checkpoint of nas_distill: {error}; delete it to train from the start",
            code="train.checkpoint_damaged",
            field=str(path),
        ) from error
    return state


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    return hashlib.sha256(f"{text}{tensors_sha256(tensors)}".encode()).hexdigest()


def _extract_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        # Copies, because safetensors rejects tensors that share memory (tied weights, the moving average at step 0).
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        # JSON keys are strings, those of an optimiser state are numbers; pairs keep the type.
        return {"map": [[key, _extract_tensors(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_extract_tensors(item, tensors) for item in value]}
    if isinstance(value, torch.dtype):
        return {_DTYPE: str(value).removeprefix("torch.")}
    return value


def _insert_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return tensors[value[_TENSOR]]
    if _DTYPE in value:
        return getattr(torch, value[_DTYPE])
    if "tuple" in value:
        return tuple(_insert_tensors(item, tensors) for item in value["tuple"])
    if "map" in value:
        return {key: _insert_tensors(item, tensors) for key, item in value["map"]}
    return [_insert_tensors(item, tensors) for item in value["list"]]
