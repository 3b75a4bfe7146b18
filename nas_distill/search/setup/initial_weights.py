"""Decides before any training which initial weights fit the candidates of a search."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from nas_distill.config import RUN, SpaceConfig
from nas_distill.errors import ConfigError, SpaceError, TeacherError
from nas_distill.models.run_student import run_student_shape
from nas_distill.models.starts.availability import missing_weights
from nas_distill.models.starts.pretrained import find_weights
from nas_distill.models.starts.rules import teacher_layout, weights_misfit
from nas_distill.models.student import RESERVED_ARGUMENTS
from nas_distill.models.weight_selection import NetworkLayout
from nas_distill.records import PRETRAINED, RANDOM, SpaceContext, StudentSpec
from nas_distill.records.network_shape import NetworkShape
from nas_distill.search.proposal.initial_weights import FIELD, InitialWeightsChooser


def choose_initial_weights(space: SpaceConfig, context: SpaceContext) -> InitialWeightsChooser:
    """Return the chooser of a search's initial weights.

    Networks are compared by the names and shapes of their tensors; no weights are read. timm's weights must be in the
    local cache or in `space.pretrained_root`, or the hub must answer.

    Args:
        space: Section `space` of the configuration.
        context: Images and teacher of the search.
    """
    classes, channels, teacher = context.num_classes, context.channels, context.teacher
    shape = NetworkShape(num_classes=classes, channels=channels, image_size=context.image_size)
    root = None if space.pretrained_root is None else Path(space.pretrained_root)

    @cache
    def layout() -> NetworkLayout:
        # Drop rates change no tensor, and a candidate must not have them.
        arguments = {name: value for name, value in teacher.arguments.items() if name not in RESERVED_ARGUMENTS}
        return teacher_layout(
            teacher.architecture, arguments, num_classes=classes, channels=channels, image_size=teacher.image_size
        )

    def misfit(spec: StudentSpec, initial_weights: str) -> str | None:
        if initial_weights == RANDOM:
            return None
        try:
            reason = weights_misfit(spec, initial_weights, shape=shape, teacher=layout())
        except SpaceError as error:  # the candidate cannot be built
            return str(error)
        return _missing(spec, root) if reason is None and initial_weights == PRETRAINED else reason

    return InitialWeightsChooser(space.initial_weights, misfit)


def _missing(spec: StudentSpec, root: Path | None) -> str | None:
    """Return why timm's weights of a candidate cannot be loaded."""
    if root is None:
        return missing_weights(spec.architecture)
    found = find_weights(spec.architecture, root)
    return None if found is not None else f"{root} has no weights of {spec.architecture}"


def check_initial_weights(space: SpaceConfig) -> None:
    """Check that the students of other runs among the allowed initial weights exist, and the folder of timm's weights.

    Args:
        space: Section `space` of the configuration.

    Raises:
        ConfigError: A run, a trial or the folder does not exist, or a trial has no student.
    """
    for one in space.initial_weights:
        if one.startswith(RUN):
            try:
                run_student_shape(one)
            except TeacherError as error:
                raise ConfigError(str(error.args[0]), code=error.code, field=FIELD) from error
    if space.pretrained_root is not None and not Path(space.pretrained_root).is_dir():
        raise ConfigError(
            f"{space.pretrained_root} is not a folder; name the folder with timm's weight files",
            code="models.pretrained_unavailable",
            field="space.pretrained_root",
        )
