"""Read and write the weights of networks, and compute their digest."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import timm
import timm.models
import torch
from torch import Tensor, nn

from nas_distill.config import LOCAL_DIR
from nas_distill.errors import RunError, TeacherError, first_line, nearest_names
from nas_distill.run_directory.files import write_atomic

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
_DIGEST = "sha256"
_PICKLED_WEIGHTS = "pytorch_model.bin"


def check_name(model: str) -> None:
    """Check that timm has an architecture.

    Raises:
        TeacherError: timm has none with this name.
    """
    if not timm.is_model(model):
        raise TeacherError(
            f"timm has no '{model}'; {nearest_names(model, timm.list_models())}",
            code="models.architecture_unknown",
            field="teacher.model",
        )


def two_weight_sources(model: str) -> TeacherError:
    """Return the error for a checkpoint or constructor arguments next to a model that includes both."""
    return TeacherError(
        f"'{model}' includes its weights and arguments; leave out teacher.checkpoint and teacher.arguments",
        code="models.two_weight_sources",
        field="teacher.model",
    )


def load_local_dir(folder: Path, *, trust_pickle: bool) -> tuple[nn.Module, dict[str, Any]]:
    """Load a network that timm's `save_for_hf` or `save_local_dir` wrote.

    Args:
        folder: Folder with `config.json` and either `model.safetensors` or `pytorch_model.bin`.
        trust_pickle: Whether to open `pytorch_model.bin`; a pickle can run any code.

    Returns:
        The network and its constructor arguments, without the numbers of classes and channels.

    Raises:
        TeacherError: A file is missing, or the weights do not fit the configuration.
    """
    if not (folder / CONFIG).is_file():
        raise TeacherError(
            f"{folder} has no {CONFIG}; pass a folder written by `nas_distill teacher` or timm's save_for_hf",
            code="models.teacher_not_loadable",
            field="teacher.model",
        )
    safe = (folder / WEIGHTS).is_file()
    if not safe and not trust_pickle:
        raise TeacherError(
            f"{folder} has no {WEIGHTS}; pickled weights can run any code and are opened only with --trust-pickle",
            code="models.pickle_not_trusted",
            field="teacher.model",
        )
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        arguments = dict(config.get("model_args") or {})
        network = timm.create_model(f"{LOCAL_DIR}{folder}", pretrained=safe)
        if not safe:
            _warn_of_pickle(folder / _PICKLED_WEIGHTS)
            network.load_state_dict(timm.models.load_state_dict(str(folder / _PICKLED_WEIGHTS), weights_only=False))
    except Exception as error:
        raise TeacherError(
            f"{folder} cannot be loaded: {first_line(error)}", code="models.teacher_not_loadable", field="teacher.model"
        ) from error
    for name in ("num_classes", "in_chans"):
        arguments.pop(name, None)
    return network, arguments


def _warn_of_pickle(path: Path) -> None:
    warnings.warn(f"opening the pickle {path}, which can run any code (--trust-pickle)", stacklevel=2)


def load_checkpoint(
    model: str, arguments: Mapping[str, Any], path: Path, *, num_classes: int, trust_pickle: bool
) -> nn.Module:
    """Load all weights of a checkpoint into a network with the checkpoint's numbers of classes and channels.

    Args:
        model: timm name of the architecture.
        arguments: Constructor arguments.
        path: `.safetensors` file, or a pickle.
        num_classes: Number of classes, used if the checkpoint has no classifier.
        trust_pickle: Whether to open a pickle; it can run any code.

    Raises:
        TeacherError: The file is missing or does not fit the network.
    """
    if not path.is_file():
        raise TeacherError(
            f"{path} is not a file; pass the path of a checkpoint",
            code="models.checkpoint_missing",
            field="teacher.checkpoint",
        )
    if path.suffix != ".safetensors" and not trust_pickle:
        raise TeacherError(
            f"{path} is not a .safetensors file; pickled weights can run any code and are opened only with "
            "--trust-pickle",
            code="models.pickle_not_trusted",
            field="teacher.checkpoint",
        )
    if path.suffix != ".safetensors":
        _warn_of_pickle(path)
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
        raise TeacherError(
            f"{path} does not fit {model}: {first_line(error)}; set teacher.arguments to the constructor arguments of "
            "the checkpoint's network",
            code="models.weights_mismatch",
            field="teacher.checkpoint",
        ) from error
    return network


def _outputs_and_channels(
    model: str, arguments: Mapping[str, Any], state: Mapping[str, Tensor]
) -> tuple[int | None, int | None]:
    """Return the numbers of classes and input channels of a checkpoint; None where they are unknown."""
    with torch.device("meta"):
        config = timm.create_model(model, **arguments).pretrained_cfg
    sizes: list[int | None] = []
    for names, axis in ((config.get("classifier"), 0), (config.get("first_conv"), 1)):
        name = names[0] if isinstance(names, list | tuple) else names
        weight = state.get(f"{name}.weight")
        sizes.append(None if weight is None else int(weight.shape[axis]))
    return sizes[0], sizes[1]


def save_weights(network: nn.Module, path: Path) -> None:
    """Write the `state_dict` of a network as a safetensors file, with a checksum in its header.

    Raises:
        RunError: The file cannot be written.
    """
    # Copies, because safetensors rejects tensors that share memory, such as tied weights.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
    # One entry only: safetensors writes several in an order that differs between processes.
    header = {_DIGEST: tensors_sha256(tensors)}
    write_atomic(path, lambda temporary: safetensors.torch.save_file(tensors, temporary, metadata=header))


def load_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors that `save_weights` wrote.

    Raises:
        RunError: The file is missing or damaged.
    """
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as stored:
            tensors: dict[str, Tensor] = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            digest = (stored.metadata() or {}).get(_DIGEST)
    except (OSError, safetensors.SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"cannot be read: {reason}", code="models.weights_unreadable", field=str(path)) from None
    if digest != tensors_sha256(tensors):
        raise RunError("is damaged: its checksum does not match", code="models.weights_unreadable", field=str(path))
    return tensors


def weights_sha256(network: nn.Module) -> str:
    """Return the SHA-256 of all parameters and buffers, names included."""
    return tensors_sha256(network.state_dict())


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors, names included."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
