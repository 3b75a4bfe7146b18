"""The images that a teacher was made for, read before its weights are loaded and before images are decoded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import timm

from nas_distill.config import LOCAL_DIR, RUN, TeacherConfig
from nas_distill.models.run_student import student_input
from nas_distill.models.weights import CONFIG
from nas_distill.records.resizing import Interpolation, NetworkInput, Resizing

_INTERPOLATIONS: tuple[Interpolation, ...] = get_args(Interpolation)


def teacher_input(teacher: TeacherConfig) -> NetworkInput | None:
    """Return the image size, crop ratio and interpolation in a teacher's own configuration.

    Args:
        teacher: Section `teacher` of the configuration.

    Returns:
        None if no teacher is given, or if its configuration cannot be read: loading it then says why.

    Raises:
        TeacherError: The teacher is a student that cannot be found.
    """
    found: NetworkInput | None
    if teacher.model is None:
        return None
    if teacher.model.startswith(RUN):
        found = student_input(teacher.model)
    elif teacher.model.startswith(LOCAL_DIR):
        found = _of_folder(Path(teacher.model.removeprefix(LOCAL_DIR)))
    else:
        config = timm.get_pretrained_cfg(teacher.model, allow_unregistered=True)
        found = None if config is None else network_input(config.to_dict(), teacher.arguments)
    if found is None or teacher.image_size is None:
        return found
    return found.model_copy(update={"image_size": teacher.image_size})


def network_input(config: Mapping[str, Any], arguments: Mapping[str, Any]) -> NetworkInput:
    """Return the input that a timm network was made for.

    Args:
        config: timm's configuration of the network (`pretrained_cfg`).
        arguments: Constructor arguments; `img_size` is the image size of a vision transformer.
    """
    size = arguments.get("img_size") or config["input_size"][-1]
    ratio, default = config.get("crop_pct"), Resizing()
    # timm also has ratios above 1, for images that are padded, and the interpolation "random".
    interpolation = next((name for name in _INTERPOLATIONS if name == config.get("interpolation")), None)
    return NetworkInput(
        image_size=int(size[-1] if isinstance(size, list | tuple) else size),
        resizing=Resizing(
            crop_ratio=ratio if ratio is not None and 0 < ratio <= 1 else default.crop_ratio,
            interpolation=interpolation or default.interpolation,
        ),
    )


def _of_folder(folder: Path) -> NetworkInput | None:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        return network_input(config["pretrained_cfg"], config.get("model_args") or {})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
