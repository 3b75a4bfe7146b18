"""Start a student from timm's pretrained weights."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import timm
from torch import nn

from nas_distill.errors import SpaceError, first_line
from nas_distill.models.student import with_image_size
from nas_distill.models.weight_selection.layout import NetworkLayout, TensorLayout
from nas_distill.models.weight_selection.legality import student_layout
from nas_distill.models.weights import CONFIG, WEIGHTS
from nas_distill.records import StudentSpec
from nas_distill.records.network_shape import NetworkShape

_SUFFIX = ".safetensors"


def pretrained_misfit(spec: StudentSpec, shape: NetworkShape) -> str | None:
    """Return why timm's weights do not fit a candidate, in one line; None if they do.

    They fit if the architecture has weights and the candidate's arguments change no shape. The weights are not read.

    Args:
        spec: Specification of the candidate.
        shape: Input and output shape of the candidate.

    Raises:
        SpaceError: The candidate cannot be built.
    """
    config = timm.get_pretrained_cfg(spec.architecture, allow_unregistered=True)
    if config is None or not config.has_weights:
        return f"timm has no weights of {spec.architecture}"
    plain = StudentSpec(architecture=spec.architecture)
    if not spec.arguments:
        return None
    sizes = {"num_classes": shape.num_classes, "channels": shape.channels, "image_size": shape.image_size}
    return _difference(student_layout(spec, **sizes), student_layout(plain, **sizes))


def _difference(own: NetworkLayout, plain: NetworkLayout) -> str | None:
    for name in (*plain.tensors, *own.tensors):
        here, there = own.tensors.get(name), plain.tensors.get(name)
        if here is None or there is None or here.shape != there.shape:
            return f"{name} is {_shape(here)} in the candidate and {_shape(there)} in timm's network"
    return None


def _shape(tensor: TensorLayout | None) -> str:
    return "missing" if tensor is None else "x".join(map(str, tensor.shape)) or "a number"


def load_pretrained(spec: StudentSpec, *, image_size: int, root: Path | None) -> nn.Module:
    """Return timm's network with its weights, its own classes and channels, and positions resized to the images.

    Args:
        spec: Specification of a candidate that the weights fit.
        image_size: Height and width of the images, pixels.
        root: Folder with weight files named after the architecture: NAME.safetensors, or NAME/model.safetensors as in
            timm's and the hub's folders. Default: the local cache and the hub.

    Raises:
        SpaceError: The weights cannot be found, downloaded or read.
    """
    arguments = with_image_size(spec.architecture, {}, image_size)
    overlay = None if root is None else _overlay(spec, root)
    try:
        network: nn.Module = timm.create_model(
            spec.architecture, pretrained=True, pretrained_cfg_overlay=overlay, **arguments
        )
    except Exception as error:
        advice = (
            "use other files" if root is not None
            else f"connect to the internet, or put {spec.architecture}{_SUFFIX} into a folder and set "
            "space.pretrained_root to it"
        )  # fmt: skip
        raise _unavailable(
            spec, f"timm's weights cannot be loaded: {first_line(error).rstrip('.')}; {advice}"
        ) from error
    return network


def _overlay(spec: StudentSpec, root: Path) -> dict[str, Any]:
    """Return the changes to timm's configuration that make it read a file of `root`."""
    file = find_weights(spec.architecture, root)
    if file is None:
        raise _unavailable(
            spec, f"{root} has neither {spec.architecture}{_SUFFIX} nor {spec.architecture}/{WEIGHTS}; add one of them"
        )
    overlay: dict[str, Any] = {"file": str(file), "custom_load": False, "source": ""}
    described = file.parent / CONFIG
    if file.name == WEIGHTS and described.is_file():
        config = json.loads(described.read_text(encoding="utf-8"))
        if isinstance(config, dict) and isinstance(config.get("num_classes"), int):
            overlay["num_classes"] = config["num_classes"]
    return overlay


@lru_cache
def find_weights(architecture: str, root: Path) -> Path | None:
    """Return the file with the weights of an architecture, whose name may or may not include that of its weights."""
    config = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
    base = architecture.partition(".")[0]
    names = dict.fromkeys((architecture, f"{base}.{config.tag}" if config is not None and config.tag else base, base))
    for name in names:
        for file in (root / f"{name}{_SUFFIX}", root / name / WEIGHTS):
            if file.is_file():
                return file
    return None


def _unavailable(spec: StudentSpec, message: str) -> SpaceError:
    return SpaceError(message, code="models.pretrained_unavailable", field=f"candidate {spec.architecture}")
