"""Initial weights for fine-tuning, taken from another network of the same architecture."""

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
from nas_distill.models.weight_selection.layout import module_names
from nas_distill.models.weights import check_name, load_checkpoint, load_local_dir, two_weight_sources


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialWeights:
    """An architecture, and the network whose weights a training starts from.

    Attributes:
        architecture: timm name of the architecture.
        arguments: Constructor arguments, without the numbers of classes and channels.
        network: Network with the weights, with its own classes and channels; None for random weights.
        folder: Folder that holds the network; None if it is not on disk.
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
        raise TeacherError(
            f"{other} also provides weights; leave out one of the two",
            code="models.two_weight_sources",
            field="--pretrained",
        )
    if is_folder and (arguments or checkpoint is not None):
        raise two_weight_sources(model)
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
    """Return the architecture and the weights that a training starts from.

    Args:
        model: timm name, with random weights unless `checkpoint` or `pretrained` is given; or `local-dir:PATH`, which
            includes its weights.
        arguments: Constructor arguments, for a timm name.
        num_classes: Number of classes of the data, for a checkpoint without a classifier.
        image_size: Image size of the data, pixels. timm resizes the position embeddings of its own weights to it.
        checkpoint: Path of a file with weights, for a timm name.
        pretrained: Whether to use timm's weights, as `timm.create_model(model, pretrained=True)` does.
        trust_pickle: Whether to open weights that are not a safetensors file; they can run any code.

    Raises:
        TeacherError: The model or the weights cannot be found or read, or two sources of weights are given.
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


def copy_weights(network: nn.Module, source: nn.Module, *, same_classes: bool = True) -> frozenset[str]:
    """Copy the weights of `source` into `network`, which has the same architecture.

    The classifier keeps its random weights if the numbers of classes differ. If the numbers of channels differ, timm
    adapts the first convolution, as it does for pretrained weights.

    Args:
        network: Network to write to.
        source: Network with the weights.
        same_classes: Whether classes are the same if they are as many; if not, the classifier keeps its random weights.

    Returns:
        Names of the tensors that were copied.

    Raises:
        TeacherError: Another tensor has a different shape, or exists in only one of the two networks.
    """
    config: Mapping[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    classifier, stem = module_names(config.get("classifier")), module_names(config.get("first_conv"))
    given, own = source.state_dict(), network.state_dict()
    copied = set()
    for name in sorted({*given, *own}):
        there, here = given.get(name), own.get(name)
        module = name.rpartition(".")[0]
        if there is None or here is None:
            raise _mismatch(name, there, here)
        if module in classifier and (there.shape != here.shape or not same_classes):
            continue
        if there.shape == here.shape:
            here.copy_(there)
        elif module in stem and _without_input_channels(there) == _without_input_channels(here):
            here.copy_(_with_channels(there, here))
        else:
            raise _mismatch(name, there, here)
        copied.add(name)
    return frozenset(copied)


def _pretrained(model: str, arguments: Mapping[str, Any]) -> nn.Module:
    try:
        network: nn.Module = timm.create_model(model, pretrained=True, **arguments)
    except Exception as error:
        raise TeacherError(
            f"timm's weights of {model} cannot be loaded: {first_line(error).rstrip('.')}; use another of "
            "timm.list_models(pretrained=True), or pass a downloaded file with --checkpoint",
            code="models.pretrained_unavailable",
            field="--pretrained",
        ) from error
    return network


def _without_input_channels(weight: Tensor) -> tuple[int, ...]:
    """Return the shape of a convolution's weight without its input channels."""
    return (*weight.shape[:1], *weight.shape[2:])


def _with_channels(weight: Tensor, target: Tensor) -> Tensor:
    try:
        adapted: Tensor = adapt_input_conv(target.shape[1], weight)
    except NotImplementedError:  # timm adapts only weights of three channels, and returns some others unchanged
        adapted = weight
    if adapted.shape != target.shape:
        raise TeacherError(
            f"the weights are for {weight.shape[1]} channels, the data have {target.shape[1]}, and timm cannot adapt "
            f"them; set data.channels={weight.shape[1]}",
            code="models.channels_mismatch",
            field="teacher.checkpoint",
        )
    return adapted


def _mismatch(name: str, there: Tensor | None, here: Tensor | None) -> TeacherError:
    return TeacherError(
        f"{name} is {_shape(there)} in the weights and {_shape(here)} in the network to train; set the constructor "
        "arguments and the image size of the weights",
        code="models.weights_mismatch",
        field="teacher.checkpoint",
    )


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else "x".join(str(length) for length in tensor.shape) or "a number"
