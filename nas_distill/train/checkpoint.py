"""Training state in one safetensors file: tensors as tensors, the rest as JSON in its header. Nothing is unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from nas_distill.errors import RunError
from nas_distill.run_directory.files import write_atomic

_TENSOR = "\x00tensor"
_DTYPE = "\x00dtype"


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a nested state atomically.

    Args:
        path: The file to replace.
        state: Nested mappings (keys text or int) and sequences of tensors and JSON scalars, such as several
            `state_dict()`s by name.

    Raises:
        RunError: The file system refused.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = _take_out(state, tensors)
    header = {"state": json.dumps(skeleton, allow_nan=False)}
    write_atomic(path, lambda temporary: safetensors.torch.save_file(tensors, temporary, metadata=header))


def load_state(path: Path) -> dict[str, Any]:
    """Return the state that `save_state` wrote, its tensors on the CPU.

    `load_state_dict` moves them on; AdamW wants its step counts to stay where they are.

    Raises:
        RunError: The file is damaged.
    """
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as stored:
            skeleton = json.loads(stored.metadata()["state"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
        state: dict[str, Any] = _put_back(skeleton, tensors)
    except (OSError, safetensors.SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: is no checkpoint of nas_distill: {error}; delete it to train again") from error
    return state


def _take_out(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        # Copies, since safetensors refuses tensors that share memory (an EMA of step 0, tied weights).
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        # JSON keys are text, an optimiser's are numbers: pairs keep both.
        return {"map": [[key, _take_out(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_take_out(item, tensors) for item in value]}
    if isinstance(value, torch.dtype):
        return {_DTYPE: str(value).removeprefix("torch.")}
    return value


def _put_back(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return tensors[value[_TENSOR]]
    if _DTYPE in value:
        return getattr(torch, value[_DTYPE])
    if "tuple" in value:
        return tuple(_put_back(item, tensors) for item in value["tuple"])
    if "map" in value:
        return {key: _put_back(item, tensors) for key, item in value["map"]}
    return [_put_back(item, tensors) for item in value["list"]]
