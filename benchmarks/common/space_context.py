"""The context of a space in simulated searches, which have no teacher network."""

from __future__ import annotations

from nas_distill.records import Cost, SpaceContext, TeacherShape
from nas_distill.records.network_shape import NetworkShape
from nas_distill.search.proposal.limits import Limits

NO_LIMITS = Limits()


def context_of(shape: NetworkShape, teacher: Cost, limits: Limits = NO_LIMITS) -> SpaceContext:
    """Return the context of a space; the teacher is a `small_resnet` of unknown arguments.

    Args:
        shape: Input and output shape of the students.
        teacher: Cost of the teacher.
        limits: Bounds on the cost of a candidate.
    """
    return SpaceContext(
        num_classes=shape.num_classes,
        channels=shape.channels,
        image_size=shape.image_size,
        teacher=TeacherShape(
            architecture="small_resnet",
            num_params=teacher.num_params,
            macs=max(1, teacher.macs),
            image_size=shape.image_size,
        ),
        max_params=limits.max_params,
        max_macs=limits.max_macs,
    )
