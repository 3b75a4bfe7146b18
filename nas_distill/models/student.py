"""Build the network of a `StudentSpec`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import timm
import torch
from torch import Tensor, nn

from nas_distill.errors import SpaceError, nearest_names
from nas_distill.model_outputs import OutputRequest, OutputShapes
from nas_distill.models.features import LOGITS_ONLY, MissingOutputError, check_outputs, output_shapes
from nas_distill.models.teacher_head import StudentWithTeacherHead, TeacherHead
from nas_distill.records import StudentSpec

RESERVED_ARGUMENTS = {
    "num_classes": "the data",
    "in_chans": "the data",
    "drop_rate": "recipe.dropout",
    "drop_path_rate": "recipe.drop_path",
}
"""Constructor arguments that a candidate must not have, and what sets them."""


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
    while_trying: AbstractContextManager[object] | None = None,
) -> nn.Module:
    """Build a candidate with random weights, drawn from torch's current random state.

    Args:
        spec: Specification of the candidate. `img_size` is added for architectures that need it according to timm.
        num_classes: Number of classes.
        channels: Number of input channels.
        image_size: Input height and width, pixels. On the meta device, one such image is passed through the network.
        drop_rate: Dropout probability before the classifier; ignored by architectures without it.
        drop_path_rate: Stochastic depth; ignored by architectures without it.
        device: Device of the weights; "meta" allocates none.
        teacher_head: The teacher's classifier, for a student that uses it instead of its own (SimKD). The student then
            has no dropout before the classifier.
        request: Outputs that losses compare. On the meta device, they are computed once as a check.
        while_trying: Context in which the image is passed through the network on the meta device, such as a counter of
            operations. The network is in eval mode there, without `teacher_head`.

    Returns:
        A module that maps float [B, channels, image_size, image_size] to logits [B, num_classes].

    Raises:
        SpaceError: timm has no such architecture, its constructor rejects the arguments, the network cannot process
            such images, or it lacks a requested output.
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
        reason = f"it cannot be built: {type(error).__name__}: {error}"
        raise _rejection(spec, reason, "models.candidate_not_buildable") from error
    image = torch.zeros(1, channels, image_size, image_size, device=device)
    if image.is_meta:
        with while_trying or nullcontext():
            _try_on_one_image(model, spec, image, num_classes)
    try:
        if teacher_head is not None:
            model = StudentWithTeacherHead(model, teacher_head, inputs=image)
        if image.is_meta and request.more_than_logits:
            output_shapes(model, image, request)
    except MissingOutputError as error:
        raise _rejection(spec, _missing_output(error), "models.output_missing") from error
    return model


def with_image_size(architecture: str, arguments: Mapping[str, Any], image_size: int) -> dict[str, Any]:
    """Return constructor arguments, with `img_size` (pixels) for architectures that need it according to timm."""
    config = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
    sized = {"img_size": image_size} if config is not None and config.fixed_input_size else {}
    return {**sized, **arguments}


def ignored_rates(spec: StudentSpec, *, num_classes: int, channels: int, image_size: int) -> frozenset[str]:
    """Return which of "drop_rate" and "drop_path_rate" a candidate's network does not have.

    Args:
        spec: Specification of the candidate.
        num_classes: Number of classes.
        channels: Number of input channels.
        image_size: Input height and width, pixels.

    Raises:
        SpaceError: The candidate cannot be built.
    """
    network = build_student(spec, num_classes=num_classes, channels=channels, image_size=image_size, device="meta")
    return frozenset({"drop_rate", "drop_path_rate"}) - _constructor_arguments(type(network))


def check_student(network: nn.Module, inputs: Tensor, request: OutputRequest) -> OutputShapes:
    """Return the shapes of a student's outputs for one image, after checking them against its forward pass.

    Args:
        network: Student network. Its training mode, its statistics and the random state do not change.
        inputs: Network inputs for the check, float [B, channels, H, W], on its device.
        request: Outputs that losses compare.

    Raises:
        SpaceError: The student has no such outputs, or their logits differ from those of its forward pass.
    """
    try:
        return check_outputs(network, inputs, request)
    except MissingOutputError as error:
        config = getattr(network, "pretrained_cfg", None) or {}
        name = config.get("architecture", type(network).__name__)
        raise SpaceError(_missing_output(error), code="models.output_missing", field=f"candidate {name}") from error


def _arguments(spec: StudentSpec, *, num_classes: int, channels: int, image_size: int) -> dict[str, Any]:
    if not timm.is_model(spec.architecture):
        hint = nearest_names(spec.architecture, timm.list_models())
        raise _rejection(spec, f"timm has no such architecture; {hint}", "models.architecture_unknown")
    arguments = spec.keyword_arguments()
    for name, decider in RESERVED_ARGUMENTS.items():
        if name in arguments:
            reason = f"'{name}' is set by {decider}; leave it out of the arguments"
            raise _rejection(spec, reason, "models.reserved_argument")
    return {
        **with_image_size(spec.architecture, arguments, image_size), "num_classes": num_classes, "in_chans": channels
    }  # fmt: skip


def _create(architecture: str, arguments: dict[str, Any], optional: dict[str, Any]) -> nn.Module:
    """Create the model without those optional arguments that its class does not accept."""
    if optional:
        with torch.device("meta"):
            accepted = _constructor_arguments(type(timm.create_model(architecture, **arguments)))
        optional = {name: value for name, value in optional.items() if name in accepted}
    model: nn.Module = timm.create_model(architecture, **arguments, **optional)
    return model


def _constructor_arguments(model_class: type[nn.Module]) -> set[str]:
    """Return the argument names of a class's constructor, with those that it passes on to its bases."""
    names: set[str] = set()
    for base in model_class.__mro__:  # a class without __init__ has the arguments of its bases
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
        raise _rejection(spec, f"it cannot process {size} images: {error}", "models.image_size_rejected") from error
    if tuple(logits.shape) != (1, num_classes):
        reason = f"its output has shape {tuple(logits.shape)}, not (1, {num_classes})"
        raise _rejection(spec, reason, "models.output_shape_wrong")


def _missing_output(error: MissingOutputError) -> str:
    fix = f"remove it from the space, or use losses that compare no {error.kind}s"
    return f"it provides no {error.kind}: {error.reason}; {fix}"


def _rejection(spec: StudentSpec, reason: str, code: str) -> SpaceError:
    arguments = ", ".join(f"{name}={value!r}" for name, value in spec.arguments.items())
    return SpaceError(reason.splitlines()[0], code=code, field=f"candidate {spec.architecture}({arguments})")
