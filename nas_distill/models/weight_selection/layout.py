"""What a cut needs to know about a network: the shape and the inner structure of each tensor. Weights are not read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

Factors = tuple[int, ...]
"""Factors of the length of an axis, from the outermost to the innermost: (12, 64) for 12 heads of 64 channels."""

Resampling = Literal["patch", "position", "relative position"]

_PARTS = {"qkv": 3, "kv": 2, "q": 1, "k": 1, "v": 1, "q_proj": 1, "k_proj": 1, "v_proj": 1}
"""Parts, of as many channels each as the heads have together, in the outputs of an attention's child module."""
_FROM_HEADS = ("proj", "out_proj")


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorLayout:
    """Shape and inner structure of a tensor.

    Attributes:
        shape: Lengths of the axes.
        structure: Factors of those axes that consist of parts, heads or groups, by number of the axis.
        resampling: Kind of the spatial axes, if timm can resample them: a "patch" of a convolution whose stride is its
            kernel, "position" embeddings, or a table of "relative position" biases.
        grid: Height and width of the position embeddings or of the attention window; (0, 0) for other tensors.
        image_channels: Whether axis 1 is the channels of the images.
    """

    shape: tuple[int, ...]
    structure: Mapping[int, Factors] = field(default_factory=dict)
    resampling: Resampling | None = None
    grid: tuple[int, int] = (0, 0)
    image_channels: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkLayout:
    """Layout of a network.

    Attributes:
        kind: Name of the network's class; of timm's class that it extends, if it extends one.
        tensors: Layouts of all tensors of `state_dict`, by name and in its order.
        parameters: Names of the tensors that are parameters.
        classifier: Names of the modules that return logits.
        grouped_widths: Groups and channels per group, by the number of channels of a grouped convolution's axis.
        num_classes: Number of classes.
    """

    kind: str
    tensors: Mapping[str, TensorLayout]
    parameters: frozenset[str]
    classifier: tuple[str, ...]
    grouped_widths: Mapping[int, Factors]
    num_classes: int


def read_layout(network: nn.Module) -> NetworkLayout:
    """Return the layout of a timm network on any device, the meta device included."""
    config = getattr(network, "pretrained_cfg", None) or {}
    stem = module_names(config.get("first_conv"))
    tensors = {name: TensorLayout(shape=tuple(tensor.shape)) for name, tensor in network.state_dict().items()}
    for name, module in network.named_modules():
        for key, found in _special(name, module, image_channels=name in stem):
            if key in tensors:
                tensors[key] = found
    grid = getattr(getattr(network, "patch_embed", None), "grid_size", None)
    positions = tensors.get("pos_embed")
    if grid is not None and positions is not None and len(positions.shape) == 3:
        tensors["pos_embed"] = TensorLayout(shape=positions.shape, resampling="position", grid=(grid[0], grid[1]))
    return NetworkLayout(
        kind=_kind(network),
        tensors=tensors,
        parameters=frozenset(name for name, _ in network.named_parameters(remove_duplicate=False)),
        classifier=module_names(config.get("classifier")),
        grouped_widths=_grouped_widths(network),
        num_classes=int(getattr(network, "num_classes", 0)),
    )


def module_names(value: str | list[str] | tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the module names in one field of timm's configuration."""
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def _kind(network: nn.Module) -> str:
    """Return the name of the network's nearest class in timm, because our entrypoints extend timm's; or of its own."""
    classes = type(network).__mro__
    return next((one for one in classes if one.__module__.startswith("timm.models")), classes[0]).__name__


def _special(name: str, module: nn.Module, *, image_channels: bool) -> Iterator[tuple[str, TensorLayout]]:
    """Yield the tensors of a module whose axes have an inner structure, with their names."""
    prefix = f"{name}." if name else ""
    if isinstance(module, nn.Conv2d):
        yield f"{prefix}weight", _convolution(module, image_channels=image_channels)
    heads = getattr(module, "num_heads", None)
    if not isinstance(heads, int):
        return
    for child, parts in _PARTS.items():
        yield from _to_heads(f"{prefix}{child}", getattr(module, child, None), (parts, heads))
    for child in _FROM_HEADS:
        weight = getattr(getattr(module, child, None), "weight", None)
        if isinstance(weight, Tensor) and weight.shape[1] % heads == 0:
            structure = {1: (1, heads, weight.shape[1] // heads)}
            yield f"{prefix}{child}.weight", TensorLayout(shape=tuple(weight.shape), structure=structure)
    table, window = getattr(module, "relative_position_bias_table", None), getattr(module, "window_size", None)
    if isinstance(table, Tensor) and isinstance(window, tuple):
        yield (
            f"{prefix}relative_position_bias_table",
            TensorLayout(shape=tuple(table.shape), resampling="relative position", grid=(window[0], window[1])),
        )


def _to_heads(name: str, module: object, factors: Factors) -> Iterator[tuple[str, TensorLayout]]:
    parts, heads = factors
    for key in ("weight", "bias"):
        tensor = getattr(module, key, None)
        if isinstance(tensor, Tensor) and tensor.shape[0] % (parts * heads) == 0:
            structure = {0: (parts, heads, tensor.shape[0] // (parts * heads))}
            yield f"{name}.{key}", TensorLayout(shape=tuple(tensor.shape), structure=structure)


def _convolution(module: nn.Conv2d, *, image_channels: bool) -> TensorLayout:
    patch = module.stride == module.kernel_size and module.kernel_size != (1, 1) and module.groups == 1
    return TensorLayout(
        shape=tuple(module.weight.shape),
        structure=_groups(module) if module.groups > 1 else {},
        resampling="patch" if patch else None,
        image_channels=image_channels,
    )


def _groups(module: nn.Conv2d) -> dict[int, Factors]:
    return {0: (module.groups, module.out_channels // module.groups), 1: (module.in_channels // module.groups,)}


def _grouped_widths(network: nn.Module) -> dict[int, Factors]:
    """Return groups and channels per group of all grouped convolutions; depthwise ones impose no structure."""
    widths: dict[int, Factors] = {}
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            for channels in (module.in_channels, module.out_channels):
                if channels > module.groups:
                    widths[channels] = (module.groups, channels // module.groups)
    return widths
