"""Describes a teacher by its architecture, constructor arguments and cost, without its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

import nas_distill.models  # noqa: F401 - registers this project's entrypoints with timm
from nas_distill.config import LOCAL_DIR, RUN, TeacherConfig
from nas_distill.errors import TeacherError, first_line
from nas_distill.models.costs.cost import measure_module_cost
from nas_distill.models.run_student import run_student_shape
from nas_distill.models.student import with_image_size
from nas_distill.models.weights import CONFIG, check_name
from nas_distill.records import Cost, TeacherShape
from nas_distill.records.network_shape import NetworkShape
from nas_distill.search.setup.teacher import DIGITS_TEACHER
from nas_distill.search.setup.teacher_arguments import read_arguments

_DATA_ARGUMENTS = ("num_classes", "in_chans")


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedTeacher:
    """A teacher as a search space sees it.

    Attributes:
        shape: Architecture, arguments and cost.
        cost: Cost of the teacher; its multiply-accumulates are those of `shape`.
    """

    shape: TeacherShape
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """What a teacher's source says about its network; None where it says nothing."""

    architecture: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    channels: int | None = None
    image_size: int | None = None


def describe_teacher(settings: TeacherConfig, shape: NetworkShape) -> DescribedTeacher:
    """Return the architecture, arguments and cost of a teacher; its weights are not read.

    Args:
        settings: Section `teacher` of the configuration.
        shape: Numbers of classes and channels, and size of the images of the search.

    Raises:
        TeacherError: The teacher cannot be found or built.
    """
    origin = _origin(settings, shape)
    channels = origin.channels or shape.channels
    arguments = dict(origin.arguments)
    size = settings.image_size or origin.image_size or _default_image_size(origin.architecture, arguments)
    network = _build(origin.architecture, arguments, shape.num_classes, channels, size)
    cost = None if network is None else _cost(network, channels, size)
    if network is None or cost is None:
        raise TeacherError(
            f"{origin.architecture} cannot be built for {size}x{size} images; check teacher.arguments and "
            "teacher.image_size",
            code="models.teacher_not_loadable",
            field="teacher.model",
        )
    if size != shape.image_size:
        resized = {**arguments, **({"img_size": shape.image_size} if "img_size" in arguments else {})}
        other = _build(origin.architecture, resized, shape.num_classes, channels, shape.image_size)
        on_images = None if other is None else _cost(other, channels, shape.image_size)
        cost = cost if on_images is None else cost.model_copy(update={"macs": on_images.macs})
    revealed = {**read_arguments(network, origin.architecture), **arguments}
    again = _build(origin.architecture, revealed, shape.num_classes, channels, size)
    if again is not None and _num_parameters(again) == _num_parameters(network):
        arguments = revealed
    return DescribedTeacher(
        shape=TeacherShape(
            architecture=origin.architecture,
            arguments=arguments,
            num_params=cost.num_params,
            macs=max(1, cost.macs),
            image_size=size,
        ),
        cost=cost,
    )


def _origin(settings: TeacherConfig, shape: NetworkShape) -> _Origin:
    model = settings.model
    if model is None:
        assert DIGITS_TEACHER.model is not None
        return _Origin(
            architecture=DIGITS_TEACHER.model, arguments=DIGITS_TEACHER.arguments, image_size=shape.image_size
        )
    if model.startswith(LOCAL_DIR):
        return _read_folder(Path(model.removeprefix(LOCAL_DIR)))
    if model.startswith(RUN):
        spec, images = run_student_shape(model)
        return _Origin(
            architecture=spec.architecture,
            arguments=spec.keyword_arguments(),
            channels=images.channels,
            image_size=images.image_size,
        )
    check_name(model)
    return _Origin(architecture=_without_tag(model), arguments=settings.arguments)


def _read_folder(folder: Path) -> _Origin:
    """Return what the `config.json` of a folder in timm's local-dir format says."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        architecture = _without_tag(str(config["architecture"]))
        arguments = dict(config.get("model_args") or {})
        size = (config.get("pretrained_cfg") or {}).get("input_size") or (None, None)
        channels = arguments.get("in_chans", size[0])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise TeacherError(
            f"{folder / CONFIG} cannot be read: {first_line(error)}; pass a folder written by `nas_distill teacher` or "
            "timm's save_for_hf",
            code="models.teacher_not_loadable",
            field="teacher.model",
        ) from error
    return _Origin(
        architecture=architecture,
        arguments={name: value for name, value in arguments.items() if name not in _DATA_ARGUMENTS},
        channels=channels,
        image_size=_side(arguments.get("img_size")) or size[-1],
    )


def _default_image_size(architecture: str, arguments: Mapping[str, Any]) -> int:
    config = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
    default = 224 if config is None else config.input_size[-1]
    return _side(arguments.get("img_size")) or int(default)


def _side(size: Any) -> int | None:
    """Return the width in pixels of a constructor argument `img_size`."""
    return None if size is None else int(size[-1] if isinstance(size, list | tuple) else size)


def _without_tag(architecture: str) -> str:
    return architecture.partition(".")[0]


def _build(
    architecture: str, arguments: Mapping[str, Any], num_classes: int, channels: int, image_size: int
) -> nn.Module | None:
    """Return a network without weights, on the meta device; None if it cannot be built."""
    sized = with_image_size(architecture, arguments, image_size)
    try:
        with torch.device("meta"):
            network: nn.Module = timm.create_model(
                architecture, **{**sized, "num_classes": num_classes, "in_chans": channels}
            )
    except Exception:  # noqa: BLE001 - constructors of timm raise anything
        return None
    return network


def _num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _cost(network: nn.Module, channels: int, image_size: int) -> Cost | None:
    """Return the cost of a network for images of a size; None if it cannot process them."""
    try:
        return measure_module_cost(network, channels=channels, image_size=image_size)
    except Exception:  # noqa: BLE001 - forward passes of timm raise anything
        return None
