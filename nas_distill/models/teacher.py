"""Load a teacher and check it against the data; save a network as a teacher."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from timm.models._hub import save_config_for_hf
from torch import nn

from nas_distill.config import LOCAL_DIR, RUN
from nas_distill.errors import TeacherError, first_line
from nas_distill.models.normalisation import network_normalisation
from nas_distill.models.preprocess import Preprocess
from nas_distill.models.run_student import load_run_student
from nas_distill.models.teacher_input import network_input
from nas_distill.models.teacher_network import Teacher
from nas_distill.models.weights import (
    CONFIG,
    WEIGHTS,
    check_name,
    load_checkpoint,
    load_local_dir,
    save_weights,
    two_weight_sources,
)
from nas_distill.records.resizing import Resizing
from nas_distill.run_directory.files import write_text

__all__ = ["Teacher", "load_teacher", "save_local_dir"]


def load_teacher(
    model: str,
    *,
    class_names: Sequence[str],
    channels: int,
    arguments: Mapping[str, Any] | None = None,
    checkpoint: str | None = None,
    trust_pickle: bool = False,
    image_size: int | None = None,
) -> Teacher:
    """Load a teacher and checks it against the data.

    Args:
        model: timm name (with `checkpoint`), `local-dir:PATH`, or `run:RUN/TRIAL`.
        class_names: Class names of the data.
        channels: Number of channels of the data.
        arguments: Constructor arguments, for a timm name.
        checkpoint: Path of a file with weights, for a timm name.
        trust_pickle: Whether to open weights that are not a safetensors file; they can run any code.
        image_size: Input size, pixels. Default: the size in the teacher's own configuration.

    Raises:
        TeacherError: The teacher cannot be found, read or built, or its classes or channels do not match the data.
    """
    if model.startswith((LOCAL_DIR, RUN)) and (checkpoint is not None or arguments):
        raise two_weight_sources(model)
    if model.startswith(RUN):
        teacher = load_run_student(model, image_size=image_size)
    elif model.startswith(LOCAL_DIR):
        network, arguments = load_local_dir(Path(model.removeprefix(LOCAL_DIR)), trust_pickle=trust_pickle)
        teacher = _wrap(network, arguments, image_size)
    else:
        arguments = dict(arguments or {})
        path = _checkpoint_of(model, checkpoint)
        network = load_checkpoint(model, arguments, path, num_classes=len(class_names), trust_pickle=trust_pickle)
        teacher = _wrap(network, arguments, image_size)
    _check_against_data(teacher, class_names, channels)
    _check_forward_pass(teacher, channels)
    return teacher


def _checkpoint_of(model: str, checkpoint: str | None) -> Path:
    check_name(model)
    if checkpoint is None:
        raise TeacherError(
            f"'{model}' has no weights for these classes; pass --teacher-checkpoint FILE, or train it with "
            f"`nas_distill teacher --model {model}` and pass --teacher local-dir:PATH",
            code="models.checkpoint_needed",
            field="teacher.model",
        )
    return Path(checkpoint)


def _wrap(network: nn.Module, arguments: Mapping[str, Any], image_size: int | None) -> Teacher:
    config: dict[str, Any] = dict(network.pretrained_cfg)  # type: ignore[arg-type]
    # For a checkpoint, timm's configuration says three channels whatever the weights are.
    stem = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    channels = int(config["input_size"][0]) if stem is None else stem.in_channels
    size = image_size or network_input(config, arguments).image_size
    labels = config.get("label_names")
    return Teacher(
        network,
        architecture=str(config["architecture"]),
        arguments=arguments,
        channels=channels,
        image_size=size,
        preprocess=Preprocess.of(network_normalisation(network, channels), image_size=size),
        class_names=labels if isinstance(labels, list | tuple) and labels else None,
    )


def _check_against_data(teacher: Teacher, class_names: Sequence[str], channels: int) -> None:
    known = teacher.class_names
    mine = f"the teacher has {teacher.num_classes} classes{_listed(known)}"
    theirs = f"the data have {len(class_names)}{_listed(class_names)}"
    if teacher.num_classes != len(class_names):
        raise TeacherError(
            f"{mine}, {theirs}; use a teacher that was fine-tuned on these classes",
            code="models.classes_mismatch",
            field="teacher.model",
        )
    if known is not None and tuple(known) != tuple(class_names):
        raise TeacherError(
            f"{mine}, {theirs}; names and order must agree", code="models.classes_mismatch", field="teacher.model"
        )
    if teacher.channels < channels:
        raise TeacherError(
            f"the teacher takes {teacher.channels} channel, the data have {channels}; set "
            f"data.channels={teacher.channels}",
            code="models.channels_mismatch",
            field="teacher.model",
        )


def _check_forward_pass(teacher: Teacher, channels: int) -> None:
    size = teacher.image_size
    try:
        teacher(torch.zeros(1, channels, size, size, dtype=torch.uint8))
    except Exception as error:
        raise TeacherError(
            f"{teacher.architecture} cannot process {size}x{size} images: {first_line(error)}; set the size that it "
            "was trained with",
            code="models.image_size_rejected",
            field="teacher.image_size",
        ) from error


def _listed(names: Sequence[str] | None) -> str:
    return f" ({', '.join(names)})" if names else ""


def save_local_dir(
    teacher_network: nn.Module,
    folder: Path,
    *,
    arguments: Mapping[str, Any],
    class_names: Sequence[str],
    channels: int,
    image_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    resizing: Resizing | None = None,
) -> None:
    """Write a network as timm's local-dir: `model.safetensors` first, then the `config.json` that names it.

    `timm.create_model("local-dir:FOLDER", pretrained=True)` rebuilds it. For an entrypoint of this project, import
    `nas_distill.models` first.

    Args:
        teacher_network: timm model on any device.
        folder: Folder to write to; created if missing. Its files are replaced atomically.
        arguments: Constructor arguments that rebuild the network.
        class_names: Class names in the order of the outputs.
        channels: Number of input channels.
        image_size: Input height and width, pixels.
        mean: Mean of each channel, on the scale from 0 to 1.
        std: Standard deviation of each channel, on the scale from 0 to 1.
        resizing: How images of other sizes were resized. Default: the whole centre square, bicubic.

    Raises:
        RunError: A file cannot be written.
    """
    with tempfile.TemporaryDirectory() as scratch:
        described = Path(scratch) / CONFIG
        save_config_for_hf(
            teacher_network,
            str(described),
            model_config={"label_names": list(class_names)},
            model_args=dict(arguments),
        )
        config = json.loads(described.read_text(encoding="utf-8"))
    resizing = resizing or Resizing()
    # timm writes three channels and its own statistics, whatever the network was trained on.
    config["pretrained_cfg"].update(
        {
            "input_size": [channels, image_size, image_size],
            "mean": list(mean),
            "std": list(std),
            "crop_pct": resizing.crop_ratio,
            "interpolation": resizing.interpolation,
        }
    )
    save_weights(teacher_network, folder / WEIGHTS)
    write_text(folder / CONFIG, json.dumps(config, indent=1) + "\n")
