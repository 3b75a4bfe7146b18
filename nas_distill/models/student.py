"""From a `StudentSpec` to a module."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn

from nas_distill.errors import SpaceError, nearest_names
from nas_distill.model_outputs import OutputRequest, OutputShapes
from nas_distill.models.features import LOGITS_ONLY, MissingOutputError, check_outputs, output_shapes
from nas_distill.models.teacher_head import StudentWithTeacherHead, TeacherHead
from nas_distill.records import StudentSpec

_DECIDED_ELSEWHERE = {
    "num_classes": "the data",
    "in_chans": "the data",
    "drop_rate": "recipe.dropout",
    "drop_path_rate": "recipe.drop_path",
}


def build_student(
    spec: StudentSpec,
    *,
    num_classes: int,
    channels: int,
    image_size: int,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    device: torch.device | str = "cpu",
    teacher_head: TeacherHead | None = None,
    request: OutputRequest = LOGITS_ONLY,
) -> nn.Module:
    """Build a candidate with fresh weights from torch's current random state.

    Args:
        spec: The candidate; `img_size` is filled in for architectures that are known by timm to need it.
        num_classes: Outputs.
        channels: Input channels.
        image_size: Input height and width, pixels; on the meta device the network is tried on one such image.
        drop_rate: Dropout before the classifier; architectures without it are built without.
        drop_path_rate: Stochastic depth; architectures without it are built without.
        device: Where the weights live; "meta" allocates none.
        teacher_head: The teacher's classifier, when the student answers through it instead of one of its own (SimKD);
            dropout before the classifier is left out with the student's own.
        request: Signals that losses will compare; on the meta device the network is asked for them too.

    Returns:
        A module that maps float [B, channels, image_size, image_size] to logits [B, num_classes].

    Raises:
        SpaceError: timm has no such architecture, its constructor refuses the arguments, or the network cannot
            take such images, or lacks a signal.
    """
    arguments = _arguments(spec, num_classes=num_classes, channels=channels, image_size=image_size)
    optional: dict[str, Any] = {}
    if drop_rate > 0:
        optional["drop_rate"] = drop_rate
    if drop_path_rate > 0:
        optional["drop_path_rate"] = drop_path_rate
    try:
        with torch.device(device):
            model = _create(spec.architecture, arguments, optional)
    except Exception as error:
        raise SpaceError(_rejection(spec, f"cannot be built: {type(error).__name__}: {error}")) from error
    image = torch.zeros(1, channels, image_size, image_size, device=device)
    if image.is_meta:
        _try_on_one_image(model, spec, image, num_classes)
    try:
        if teacher_head is not None:
            model = StudentWithTeacherHead(model, teacher_head, inputs=image)
        if image.is_meta and request.more_than_logits:
            output_shapes(model, image, request)
    except MissingOutputError as error:
        raise SpaceError(_rejection(spec, _lack(error))) from error
    return model


def with_image_size(architecture: str, arguments: Mapping[str, Any], image_size: int) -> dict[str, Any]:
    """Return constructor arguments, with `img_size` (pixels) for architectures that are known by timm to need it."""
    config = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
    sized = {"img_size": image_size} if config is not None and config.fixed_input_size else {}
    return {**sized, **arguments}


def check_student(network: nn.Module, inputs: Tensor, request: OutputRequest) -> OutputShapes:
    """Return the shapes of a student's signals for one image, after checking that they lead to its logits.

    Args:
        network: As built; training mode, statistics and chance stay as they are.
        inputs: float [B, channels, H, W] on its device, to try it on.
        request: Which signals.

    Raises:
        SpaceError: It has no such signals, or they lead to other logits.
    """
    try:
        return check_outputs(network, inputs, request)
    except MissingOutputError as error:
        config = getattr(network, "pretrained_cfg", None) or {}
        name = config.get("architecture", type(network).__name__)
        raise SpaceError(f"candidate {name}: {_lack(error)}") from error


def _arguments(spec: StudentSpec, *, num_classes: int, channels: int, image_size: int) -> dict[str, Any]:
    if not timm.is_model(spec.architecture):
        hint = nearest_names(spec.architecture, timm.list_models())
        raise SpaceError(_rejection(spec, f"timm has no such architecture; {hint}"))
    arguments = spec.keyword_arguments()
    for name, decider in _DECIDED_ELSEWHERE.items():
        if name in arguments:
            raise SpaceError(_rejection(spec, f"'{name}' is decided by {decider}; leave it out of the arguments"))
    return {
        **with_image_size(spec.architecture, arguments, image_size), "num_classes": num_classes, "in_chans": channels
    }  # fmt: skip


def _create(architecture: str, arguments: dict[str, Any], optional: dict[str, Any]) -> nn.Module:
    """Create the model, leaving out those optional arguments that its class does not take."""
    if optional:
        with torch.device("meta"):
            accepted = _constructor_arguments(type(timm.create_model(architecture, **arguments)))
        optional = {name: value for name, value in optional.items() if name in accepted}
    model: nn.Module = timm.create_model(architecture, **arguments, **optional)
    return model


def _constructor_arguments(model_class: type[nn.Module]) -> set[str]:
    """Return the names that a class's constructor takes, those that it hands on to its bases included."""
    names: set[str] = set()
    for base in model_class.__mro__:  # object's constructor stands for none of its own, and hands everything on
        parameters = inspect.signature(vars(base).get("__init__", object.__init__)).parameters.values()
        names |= {parameter.name for parameter in parameters}
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            break
    return names


def _try_on_one_image(model: nn.Module, spec: StudentSpec, image: Tensor, num_classes: int) -> None:
    try:
        with torch.no_grad():
            logits = model.eval()(image)
    except Exception as error:
        size = "x".join(str(length) for length in image.shape[1:])
        raise SpaceError(_rejection(spec, f"cannot take {size} images: {error}")) from error
    if tuple(logits.shape) != (1, num_classes):
        raise SpaceError(_rejection(spec, f"gives an output of shape {tuple(logits.shape)}, not (1, {num_classes})"))


def _lack(error: MissingOutputError) -> str:
    way_out = f"leave it out of the space, or take losses that compare no {error.kind}s"
    return f"gives no {error.kind}: {error.reason}; {way_out}"


def _rejection(spec: StudentSpec, reason: str) -> str:
    first_line = reason.splitlines()[0]
    return f"candidate {spec.architecture}({', '.join(f'{k}={v!r}' for k, v in spec.arguments.items())}): {first_line}"
