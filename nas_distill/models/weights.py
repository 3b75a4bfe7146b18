"""Read and write the weights of networks, and compute their digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import timm.models
import torch
from torch import Tensor, nn

from nas_distill.config import LOCAL_DIR
from nas_distill.errors import TeacherError, first_line, nearest_names
from nas_distill.run_directory.files import write_atomic

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
_PICKLED_WEIGHTS = "pytorch_model.bin"


def check_name(model: str) -> None:
    """Check that timm knows an architecture.

    Raises:
        TeacherError: It does not.
    """
    if not timm.is_model(model):
        raise TeacherError(f"teacher.model: timm has no '{model}'; {nearest_names(model, timm.list_models())}")


def brings_its_own(model: str) -> str:
    """Return what is said when weights or arguments are given beside a network that is saved whole."""
    return (
        f"teacher.model: '{model}' brings its own weights and arguments; leave out teacher.checkpoint "
        "and teacher.arguments"
    )


def load_local_dir(folder: Path, *, trust_pickle: bool) -> tuple[nn.Module, dict[str, Any]]:
    """Load a network that timm's `save_for_hf`, or `save_local_dir`, wrote.

    Args:
        folder: With `config.json` and `model.safetensors`, or `pytorch_model.bin`.
        trust_pickle: Open the latter; a pickle can run any code.

    Returns:
        The network and the arguments of its constructor, without classes and channels.

    Raises:
        TeacherError: It holds no such files, or they do not fit each other.
    """
    if not (folder / CONFIG).is_file():
        raise TeacherError(
            f"teacher.model: {folder} holds no {CONFIG}; give a folder written by `nas_distill teacher` or timm's "
            "save_for_hf"
        )
    safe = (folder / WEIGHTS).is_file()
    if not safe and not trust_pickle:
        raise TeacherError(
            f"teacher.model: {folder} holds no {WEIGHTS}; pickled weights can run any code and are opened only "
            "with --trust-pickle"
        )
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        arguments = dict(config.get("model_args") or {})
        network = timm.create_model(f"{LOCAL_DIR}{folder}", pretrained=safe)
        if not safe:
            network.load_state_dict(timm.models.load_state_dict(str(folder / _PICKLED_WEIGHTS), weights_only=False))
    except Exception as error:
        raise TeacherError(f"teacher.model: {folder} cannot be loaded: {first_line(error)}") from error
    for decided in ("num_classes", "in_chans"):
        arguments.pop(decided, None)
    return network, arguments


def load_checkpoint(
    model: str, arguments: Mapping[str, Any], path: Path, *, num_classes: int, trust_pickle: bool
) -> nn.Module:
    """Load a checkpoint's weights, all of them, into a network with the classes and channels that it has.

    Args:
        model: A timm name.
        arguments: Constructor arguments.
        path: `.safetensors`, or a pickle.
        num_classes: Of the network, where the checkpoint has no classifier.
        trust_pickle: Open a pickle; it can run any code.

    Raises:
        TeacherError: The file is missing or does not fit the network.
    """
    if not path.is_file():
        raise TeacherError(f"teacher.checkpoint: {path} is no file")
    if path.suffix != ".safetensors" and not trust_pickle:
        raise TeacherError(
            f"teacher.checkpoint: {path} is no .safetensors file; pickled weights can run any code and are opened "
            "only with --trust-pickle"
        )
    try:
        state = timm.models.load_state_dict(str(path), weights_only=not trust_pickle)
        outputs, channels = _outputs_and_channels(model, arguments, state)
        network: nn.Module = timm.create_model(
            model,
            **{
                **arguments,
                "num_classes": outputs or num_classes,
                **({"in_chans": channels} if channels else {}),
            },
        )
        network.load_state_dict(state)
    except Exception as error:
        raise TeacherError(f"teacher.checkpoint: {path} does not fit {model}: {first_line(error)}") from error
    return network


def _outputs_and_channels(
    model: str, arguments: Mapping[str, Any], state: Mapping[str, Tensor]
) -> tuple[int | None, int | None]:
    """Read the number of outputs and input channels off the checkpoint's classifier and first convolution."""
    with torch.device("meta"):
        config = timm.create_model(model, **arguments).pretrained_cfg
    sizes: list[int | None] = []
    for names, axis in ((config.get("classifier"), 0), (config.get("first_conv"), 1)):
        name = names[0] if isinstance(names, list | tuple) else names
        weight = state.get(f"{name}.weight")
        sizes.append(None if weight is None else int(weight.shape[axis]))
    return sizes[0], sizes[1]


def save_weights(network: nn.Module, path: Path) -> None:
    """Write a network's state as safetensors, by the names of its `state_dict`.

    Raises:
        RunError: The file system refused.
    """
    # Copies, since safetensors refuses tensors that share memory, as tied weights do.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
    write_atomic(path, lambda temporary: safetensors.torch.save_file(tensors, temporary))


def weights_sha256(network: nn.Module) -> str:
    """Return the SHA-256 of all parameters and buffers, names included."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
