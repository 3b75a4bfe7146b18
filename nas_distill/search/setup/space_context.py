"""Make the context of a search space: the images, the teacher and the limits of the search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas_distill.callbacks import NullProgress
from nas_distill.config import LOCAL_DIR, DataConfig, SpaceConfig, TeacherConfig
from nas_distill.data.parallel_decode import ParallelDecoder
from nas_distill.data.sources import open_source
from nas_distill.errors import SpaceError
from nas_distill.models.teacher_input import teacher_input
from nas_distill.records import SpaceContext
from nas_distill.records.network_shape import NetworkShape
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.proposal.limits import Limits, make_limits
from nas_distill.search.samplers.space_sampling import sample_space
from nas_distill.search.setup.teacher_shape import describe_teacher
from nas_distill.search.spaces.loading import Space, list_spaces, load_space

_INSPECTED_IMAGES = 64
"""Images whose headers are read before a search starts; preparing the data reads all of them."""

_PARAMETER_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceSetup:
    """What a search demands of the candidates of its space.

    Attributes:
        context: Data, teacher and limits, as the space receives them.
        limits: Bounds on the cost of a candidate.
    """

    context: SpaceContext
    limits: Limits


def expect_space(data: DataConfig, teacher: TeacherConfig, space: SpaceConfig) -> SpaceSetup:
    """Return what a new search will demand, as far as the headers of a few images and the teacher's configuration say.

    Args:
        data: Section `data` of the configuration.
        teacher: Section `teacher` of the configuration.
        space: Section `space` of the configuration.

    Raises:
        DataError: The images cannot be read, or differ in size and `data.image_size` is not given.
        TeacherError: The teacher cannot be found or built.
    """
    needed = teacher_input(teacher)
    return plan_space(teacher, space, _inspect_images(data, None if needed is None else needed.image_size))


def setup_space(run: RunDirectory, space: SpaceConfig, shape: NetworkShape) -> SpaceSetup:
    """Return what a prepared search demands; the same in every session.

    Args:
        run: The run directory, which holds the teacher.
        space: Section `space` of the configuration.
        shape: Input and output shape of the students.

    Raises:
        TeacherError: The run's teacher cannot be built.
    """
    return plan_space(TeacherConfig(model=f"{LOCAL_DIR}{run.teacher}"), space, shape)


def plan_space(teacher: TeacherConfig, space: SpaceConfig, shape: NetworkShape) -> SpaceSetup:
    """Return what a search demands of its candidates.

    Args:
        teacher: Section `teacher` of the configuration.
        space: Section `space` of the configuration.
        shape: Input and output shape of the students.

    Raises:
        TeacherError: The teacher cannot be found or built.
    """
    described = describe_teacher(teacher, shape)
    limits = make_limits(space, described.cost)
    size_bound = None if limits.max_size_bytes is None else max(1, limits.max_size_bytes // _PARAMETER_BYTES)
    return SpaceSetup(
        context=SpaceContext(
            num_classes=shape.num_classes,
            channels=shape.channels,
            image_size=shape.image_size,
            teacher=described.shape,
            max_params=min(filter(None, (limits.max_params, size_bound)), default=None),
            max_macs=limits.max_macs,
            licences=space.licences,
        ),
        limits=limits,
    )


def check_space(space: Space, context: SpaceContext) -> None:
    """Check that a space has candidates for a search.

    Args:
        space: Space of the search.
        context: Data, teacher and limits of the search.

    Raises:
        SpaceError: The size of the images is outside the range that the space declares, or the space has no candidates
            for the data or the teacher.
    """
    size, info = context.image_size, space.info
    if info is not None and not info.min_image_size <= size <= info.max_image_size:
        raise SpaceError(
            f"space '{space.name}' is for images of {info.min_image_size} to {info.max_image_size} pixels, and these "
            f"have {size}; choose {_spaces_for(size)}, or another --image-size",
            code="space.image_size",
            field="space.name",
        )
    try:
        sample_space(space, 1, 0, context)
    except SpaceError as error:
        if error.code == "space.misfit":  # other errors may concern that one candidate only
            raise


def _spaces_for(image_size: int) -> str:
    """Return the names of the shipped spaces for images of a size, as a clause."""
    infos = {name: load_space(name).info for name in list_spaces()}
    fitting = [
        name for name, info in infos.items() if info and info.min_image_size <= image_size <= info.max_image_size
    ]
    return f"one of {', '.join(fitting)}" if fitting else "a space of your own (docs/how-to/own-space.md)"


def _inspect_images(data: DataConfig, suggested_size: int | None) -> NetworkShape:
    """Return the input and output shape of networks for the images, from the headers of a few training images.

    Args:
        data: Section `data` of the configuration.
        suggested_size: Image size that errors suggest, pixels; None for none.

    Raises:
        DataError: The images cannot be read, or differ in size and `data.image_size` is not given.
    """
    source = open_source(data)
    train = source.native_splits["train"]
    indices = np.unique(np.linspace(train.start, train.stop - 1, _INSPECTED_IMAGES).round().astype(np.int64))
    found, _ = ParallelDecoder(source=source, progress=NullProgress()).find_format(
        indices, image_size=data.image_size, channels=data.channels, suggested_size=suggested_size
    )
    return NetworkShape(num_classes=len(source.class_names), channels=found.channels, image_size=found.image_size)
