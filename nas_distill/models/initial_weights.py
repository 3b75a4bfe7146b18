"""The weights with which a network begins to be trained: those of another one of its kind, for fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
from timm.models import adapt_input_conv
from torch import Tensor, nn

from nas_distill.config import LOCAL_DIR
from nas_distill.errors import TeacherError, first_line
from nas_distill.models.student import with_image_size
from nas_distill.models.weights import brings_its_own, check_name, load_checkpoint, load_local_dir


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialWeights:
    """An architecture, and the network of that kind whose weights are taken.

    Attributes:
        architecture: timm name.
        arguments: Of its constructor, without classes and channels.
        network: With its own classes and channels; None where the weights are fresh.
        folder: Where it lies, if on disk.
    """

    architecture: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    network: nn.Module | None = None
    folder: Path | None = None


def check_initial_weights(
    model: str, *, arguments: Mapping[str, Any], checkpoint: str | None = None, pretrained: bool = False
) -> None:
    """Check the arguments of `load_initial_weights` before any weights are read."""
    is_folder = model.startswith(LOCAL_DIR)
    if pretrained and (is_folder or checkpoint is not None):
        other = f"'{model}'" if is_folder else f"teacher.checkpoint={checkpoint}"
        raise TeacherError(f"--pretrained: {other} brings weights too; leave one of the two out")
    if is_folder and (arguments or checkpoint is not None):
        raise TeacherError(brings_its_own(model))
    if not is_folder:
        check_name(model)


def load_initial_weights(
    model: str,
    *,
    arguments: Mapping[str, Any],
    num_classes: int,
    image_size: int,
    checkpoint: str | None = None,
    pretrained: bool = False,
    trust_pickle: bool = False,
) -> InitialWeights:
    """Return what a training begins with.

    Args:
        model: A timm name, whose weights are fresh unless a `checkpoint` or `pretrained` is given; or
            `local-dir:PATH`, which brings its own.
        arguments: Constructor arguments, for a timm name.
        num_classes: Of the data; for a checkpoint without a classifier.
        image_size: Of the data, pixels; timm resizes the position embeddings of its own weights to it.
        checkpoint: Weights, for a timm name.
        pretrained: Take timm's weights for the name, as `timm.create_model(model, pretrained=True)` does.
        trust_pickle: Open weights that are no safetensors file; they can run any code.

    Raises:
        TeacherError: It cannot be found or read, or two sources of weights are given.
    """
    check_initial_weights(model, arguments=arguments, checkpoint=checkpoint, pretrained=pretrained)
    if model.startswith(LOCAL_DIR):
        folder = Path(model.removeprefix(LOCAL_DIR))
        network, arguments = load_local_dir(folder, trust_pickle=trust_pickle)
        architecture = str(network.pretrained_cfg["architecture"])  # type: ignore[index]
        return InitialWeights(architecture=architecture, arguments=arguments, network=network, folder=folder)
    if checkpoint is not None:
        path = Path(checkpoint)
        network = load_checkpoint(model, arguments, path, num_classes=num_classes, trust_pickle=trust_pickle)
        return InitialWeights(architecture=model, arguments=arguments, network=network, folder=path.parent)
    own = _pretrained(model, with_image_size(model, arguments, image_size)) if pretrained else None
    return InitialWeights(architecture=model, arguments=arguments, network=own)


def copy_weights(network: nn.Module, source: nn.Module) -> None:
    """Copy the weights of `source` into `network`, which is of the same kind.

    Its classifier stays fresh when the number of outputs differs, and its first convolution is adapted by timm to
    another number of channels, as timm does with pretrained weights.

    Raises:
        TeacherError: Any other tensor has another shape, or only one of the two has it.
    """
    config: Mapping[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    classifier, stem = _names(config.get("classifier")), _names(config.get("first_conv"))
    given, own = source.state_dict(), network.state_dict()
    for name in sorted({*given, *own}):
        there, here = given.get(name), own.get(name)
        module = name.rpartition(".")[0]
        if there is None or here is None:
            raise _misfit(name, there, here)
        if there.shape == here.shape:
            here.copy_(there)
        elif module in stem and _but_for_channels(there) == _but_for_channels(here):
            here.copy_(_with_channels(there, here))
        elif module not in classifier:
            raise _misfit(name, there, here)


def _pretrained(model: str, arguments: Mapping[str, Any]) -> nn.Module:
    try:
        network: nn.Module = timm.create_model(model, pretrained=True, **arguments)
    except Exception as error:
        raise TeacherError(
            f"--pretrained: timm's weights of {model} cannot be loaded: {first_line(error).rstrip('.')}; take another "
            "of timm.list_models(pretrained=True), or give a downloaded file with --checkpoint"
        ) from error
    return network


def _names(value: Any) -> tuple[str, ...]:
    """Return the names of modules in one field of timm's configuration."""
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def _but_for_channels(weight: Tensor) -> tuple[int, ...]:
    """Return the shape of a convolution's weight without its input channels."""
    return (*weight.shape[:1], *weight.shape[2:])


def _with_channels(weight: Tensor, target: Tensor) -> Tensor:
    try:
        adapted: Tensor = adapt_input_conv(target.shape[1], weight)
    except NotImplementedError:  # timm adapts the weights of three channels alone, and returns some others unchanged
        adapted = weight
    if adapted.shape != target.shape:
        raise TeacherError(
            f"teacher.checkpoint: the weights take {weight.shape[1]} channels, the data have {target.shape[1]}, and "
            f"timm cannot adapt them; set data.channels={weight.shape[1]}"
        )
    return adapted


def _misfit(name: str, there: Tensor | None, here: Tensor | None) -> TeacherError:
    return TeacherError(
        f"teacher.checkpoint: {name} is {_shape(there)} in the weights and {_shape(here)} in the network to be "
        "trained; give the constructor arguments and the image size of the weights"
    )


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else "x".join(str(length) for length in tensor.shape) or "a number"
