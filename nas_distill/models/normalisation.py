"""The normalisation that a network's weights belong to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
from pydantic import ValidationError
from torch import nn

from nas_distill.config import RUN
from nas_distill.errors import TeacherError
from nas_distill.models.run_student import recorded_normalisation
from nas_distill.records import StudentSpec
from nas_distill.records.normalisation import Normalisation
from nas_distill.records.student import PRETRAINED


def student_normalisation(spec: StudentSpec, *, teacher: Normalisation, channels: int) -> Normalisation:
    """Return the normalisation of a student's input.

    Weights expect the normalisation that they were trained with. Students with timm's weights get timm's, students
    that continue another student get its own, and all others get the teacher's: weights that are cut from the teacher
    need it, and random weights fit any.

    Args:
        spec: Specification of the student.
        teacher: Normalisation of the teacher.
        channels: Number of channels of the images.

    Raises:
        TeacherError: The student whose weights are continued cannot be found.
    """
    start = spec.initial_weights or ""
    if start == PRETRAINED:
        config = timm.get_pretrained_cfg(spec.architecture, allow_unregistered=True)
        if config is not None:
            return timm_normalisation(config.to_dict()).for_channels(channels)
    if start.startswith(RUN):
        return recorded_normalisation(start).for_channels(channels)
    return teacher.for_channels(channels)


def network_normalisation(network: nn.Module, channels: int) -> Normalisation:
    """Return the normalisation in a timm network's configuration, for images with `channels` channels.

    Raises:
        TeacherError: The configuration has no usable mean and standard deviation.
    """
    return timm_normalisation(getattr(network, "pretrained_cfg", None) or {}).for_channels(channels)


def timm_normalisation(config: Mapping[str, Any]) -> Normalisation:
    """Return the normalisation in a timm configuration (`pretrained_cfg`).

    Raises:
        TeacherError: It has no usable mean and standard deviation.
    """
    try:
        return Normalisation(mean=tuple(config["mean"]), std=tuple(config["std"]))
    except (KeyError, TypeError, ValidationError) as error:
        found = f"mean={config.get('mean')!r} and std={config.get('std')!r}"
        raise TeacherError(
            f"its configuration has {found}; set both in pretrained_cfg of its config.json, one value per channel for "
            "pixels from 0 to 1",
            code="models.normalisation_unknown",
            field="teacher.model",
        ) from error
