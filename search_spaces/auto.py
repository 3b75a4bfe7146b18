"""The teacher's own architecture next to the best families for the images: the default space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas_distill.records import SpaceContext, SpaceTrial, StudentSpec
from search_spaces import teacher
from search_spaces.choices import FAMILIES, joint_info

_FAMILY = "family"
_TEACHER = "teacher"

_PREFERRED: tuple[tuple[int, tuple[str, ...]], ...] = (
    (23, ("convnext", "vit")),
    (64, ("resnet", "mobilenet", "efficientnet")),
    (384, ("mobilenet", "efficientnet", "convnext")),
)
"""Largest image size in pixels, and the families for it. Transformers need more images and epochs than a search has."""

INFO = joint_info(
    tuple(dict.fromkeys(name for _, names in _PREFERRED for name in names)),
    *teacher.INFO.families,
    max_params=teacher.INFO.max_params,
)


def space(trial: SpaceTrial, context: SpaceContext) -> StudentSpec:
    """The teacher's own architecture, scaled down, next to the best other families for the images.

    Searches the family and the parameters of its space. The teacher's architecture is left out if the arguments that
    set its widths and depths are not known. The search prints the chosen families when it starts, and first tries up to
    three students of the teacher's architecture that start from its weights.

    Args:
        trial: Trial that suggests the parameters.
        context: Data, teacher and limits of the search.

    Returns:
        Candidate of the space `teacher` or of the chosen family's space.
    """
    family = trial.suggest_categorical(_FAMILY, _choices(context))
    function = teacher.space if family == _TEACHER else FAMILIES[family][0]
    return function(trial, context)


def describe(context: SpaceContext) -> str:
    """Return what the space chose for a search, one line."""
    names = [teacher.describe(context) if name == _TEACHER else name for name in _choices(context)]
    return f"{', '.join(names)} for images of {context.image_size} pixels"


def first_points(context: SpaceContext) -> tuple[Mapping[str, Any], ...]:
    """Return the first points of the space `teacher`."""
    return tuple({_FAMILY: _TEACHER, **point} for point in teacher.first_points(context))


def _choices(context: SpaceContext) -> tuple[str, ...]:
    """Return the teacher's architecture if it can be scaled, and the preferred families for the size of the images."""
    preferred = next((names for size, names in _PREFERRED if context.image_size <= size), _PREFERRED[-1][1])
    own = (_TEACHER,) if teacher.is_scalable(context.teacher) else ()
    return (*own, *preferred)
