"""Decide which initial weights fit a candidate, before anything is trained."""

from __future__ import annotations

from nas_distill.config import RUN
from nas_distill.models.starts.from_run import run_misfit
from nas_distill.models.starts.pretrained import pretrained_misfit
from nas_distill.models.weight_selection import NetworkLayout, selection_misfit, student_layout
from nas_distill.records import FROM_TEACHER, PRETRAINED, RANDOM, StudentSpec
from nas_distill.records.network_shape import NetworkShape


def weights_misfit(
    spec: StudentSpec, initial_weights: str, *, shape: NetworkShape, teacher: NetworkLayout
) -> str | None:
    """Return why a candidate cannot start from given weights, in one line; None if it can.

    Only names and shapes are compared: networks are built without weights, and their layouts are cached.

    Args:
        spec: Specification of the candidate.
        initial_weights: A value of `StudentSpec.initial_weights`.
        shape: Input and output shape of the candidate.
        teacher: Layout of the teacher.

    Raises:
        SpaceError: The candidate cannot be built.
        TeacherError: The run or trial that the weights are of does not exist, or the trial is not complete.
    """
    if initial_weights == RANDOM:
        return None
    if initial_weights == PRETRAINED:
        return pretrained_misfit(spec, shape)
    if initial_weights.startswith(RUN):
        return run_misfit(spec, initial_weights)
    assert initial_weights == FROM_TEACHER
    layout = student_layout(spec, num_classes=shape.num_classes, channels=shape.channels, image_size=shape.image_size)
    return selection_misfit(layout, teacher)


def teacher_layout(
    architecture: str, arguments: dict[str, object], *, num_classes: int, channels: int, image_size: int
) -> NetworkLayout:
    """Return the layout of a teacher from its description.

    Args:
        architecture: timm name of the teacher.
        arguments: Constructor arguments, without the numbers of classes and channels.
        num_classes: Number of classes.
        channels: Number of the teacher's input channels.
        image_size: Height and width of the teacher's input, pixels.

    Raises:
        SpaceError: The teacher cannot be built from its arguments.
    """
    spec = StudentSpec(architecture=architecture, arguments=arguments)
    return student_layout(spec, num_classes=num_classes, channels=channels, image_size=image_size)
