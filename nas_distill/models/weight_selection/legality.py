"""Decide whether a candidate can start from weights of the teacher, before anything is trained."""

from __future__ import annotations

from functools import lru_cache

from nas_distill.models.student import build_student
from nas_distill.models.weight_selection.layout import NetworkLayout, read_layout
from nas_distill.models.weight_selection.options import CutOptions
from nas_distill.models.weight_selection.plan import MisfitError, plan_cut
from nas_distill.records import StudentSpec


def selection_misfit(student: NetworkLayout, teacher: NetworkLayout, options: CutOptions | None = None) -> str | None:
    """Return why a student cannot start from weights of the teacher, in one line; None if it can.

    It can if both are of the same class of networks, and the student is narrower, shallower or equal in every
    dimension.

    Args:
        student: Layout of the student, see `student_layout`.
        teacher: Layout of the teacher's network.
        options: Options of the cut. Default: the recommended ones.
    """
    try:
        plan_cut(student, teacher, options or CutOptions())
    except MisfitError as error:
        return str(error)
    return None


@lru_cache(maxsize=256)
def student_layout(spec: StudentSpec, *, num_classes: int, channels: int, image_size: int) -> NetworkLayout:
    """Return the layout of a candidate without allocating its weights; the last few hundred are cached.

    Args:
        spec: Specification of the candidate.
        num_classes: Number of classes.
        channels: Number of input channels.
        image_size: Input height and width, pixels.

    Raises:
        SpaceError: The candidate cannot be built.
    """
    network = build_student(spec, num_classes=num_classes, channels=channels, image_size=image_size, device="meta")
    return read_layout(network)
