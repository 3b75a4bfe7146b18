"""Decides before any training which initial weights fit the candidates of a search."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from nas_distill.config import RUN
from nas_distill.errors import ConfigError, SpaceError, TeacherError
from nas_distill.models.run_student import run_student_shape
from nas_distill.models.student import RESERVED_ARGUMENTS
from nas_distill.models.weight_selection import NetworkLayout, selection_misfit, student_layout
from nas_distill.records import FROM_TEACHER, RANDOM, SpaceContext, StudentSpec
from nas_distill.search.proposal.initial_weights import FIELD, InitialWeightsChooser


def choose_initial_weights(allowed: Sequence[str], context: SpaceContext) -> InitialWeightsChooser:
    """Return the chooser of a search's initial weights.

    Networks are compared by the names and shapes of their tensors; no weights are read.

    Args:
        allowed: Initial weights to choose from (`space.initial_weights`).
        context: Images and teacher of the search.
    """
    sizes = {"num_classes": context.num_classes, "channels": context.channels, "image_size": context.image_size}

    @cache
    def teacher_layout() -> NetworkLayout:
        teacher = context.teacher
        arguments = {name: value for name, value in teacher.arguments.items() if name not in RESERVED_ARGUMENTS}
        spec = StudentSpec(architecture=teacher.architecture, arguments=arguments)
        return student_layout(spec, **{**sizes, "image_size": teacher.image_size})

    def misfit(spec: StudentSpec, initial_weights: str) -> str | None:
        if initial_weights == RANDOM:
            return None
        try:
            if initial_weights == FROM_TEACHER:
                return selection_misfit(student_layout(spec, **sizes), teacher_layout())
        except SpaceError as error:  # of a candidate that cannot be built, or of a teacher that timm does not describe
            return str(error)
        return "trainings cannot start from them"

    return InitialWeightsChooser(allowed, misfit)


def check_initial_weights(allowed: Sequence[str]) -> None:
    """Check that every student of another run among the allowed initial weights exists.

    Args:
        allowed: Initial weights to choose from (`space.initial_weights`).

    Raises:
        ConfigError: A run or trial does not exist, or the trial has no student.
    """
    for one in allowed:
        if one.startswith(RUN):
            try:
                run_student_shape(one)
            except TeacherError as error:
                raise ConfigError(str(error.args[0]), code=error.code, field=FIELD) from error
