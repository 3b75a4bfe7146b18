"""What a search space receives, and what it declares about itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Protocol, Self

from pydantic import Field, PositiveInt, model_validator

from nas_distill.records.base import FrozenArguments, Record


class SpaceMisfitError(ValueError):
    """Raised by a space that has no candidates for this search; the message says why, and how to change the search."""


class TeacherShape(Record):
    """The teacher's architecture and cost, as far as a space needs them.

    Attributes:
        architecture: timm name of the teacher; an architecture without the name of its weights.
        arguments: Constructor arguments of the teacher, JSON values only, without the numbers of classes and channels.
            They include those that set its width and depth, as far as they are known.
        num_params: Number of parameters.
        macs: Multiply-accumulate operations of one forward pass of one image of the search's size; at the teacher's own
            size if it cannot process images of the search's size.
        image_size: Height and width of the teacher's input, pixels.
    """

    architecture: Annotated[str, Field(min_length=1)]
    arguments: FrozenArguments = Field(default_factory=dict)
    num_params: PositiveInt
    macs: PositiveInt
    image_size: PositiveInt


class SpaceContext(Record):
    """What a search space receives besides the trial, the same for all trials of a search.

    Attributes:
        num_classes: Number of classes of the data.
        channels: Number of image channels, 1 to 4.
        image_size: Height and width of the images, pixels.
        teacher: The teacher.
        max_params: Largest number of parameters of a student; None for no limit.
        max_macs: Largest number of multiply-accumulates per image of a student; None for no limit.
        licences: Accepted licences of pretrained weights, as timm names them (`space.licences`).
    """

    num_classes: PositiveInt
    channels: PositiveInt
    image_size: PositiveInt
    teacher: TeacherShape
    max_params: PositiveInt | None = None
    max_macs: PositiveInt | None = None
    licences: tuple[str, ...] = ()


class SpaceInfo(Record):
    """What a space declares about itself, as the constant `INFO` of its module.

    Attributes:
        families: Families of its candidates (`StudentSpec.family`).
        min_image_size: Smallest image size that every candidate can process, pixels.
        max_image_size: Largest image size that the space is meant for, pixels.
        min_params: Fewest parameters of a candidate, for 10 classes.
        max_params: Most parameters of a candidate, for 10 classes.
    """

    families: Annotated[tuple[str, ...], Field(min_length=1)]
    min_image_size: PositiveInt
    max_image_size: PositiveInt
    min_params: PositiveInt
    max_params: PositiveInt

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        for name in ("image_size", "params"):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if low > high:
                raise ValueError(f"min_{name} {low} is above max_{name} {high}")
        return self


class SpaceTrial(Protocol):
    """The trial that a search space receives: Optuna's define-by-run interface.

    `optuna.Trial` satisfies this protocol. Spaces are typed against it, so that they import neither Optuna nor the
    search.
    """

    @property
    def number(self) -> int:
        """Number of the trial, from 0."""
        ...

    @property
    def params(self) -> dict[str, Any]:
        """Values suggested so far, by name."""
        ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return one of `choices`."""
        ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Return an integer between `low` and `high`, both included."""
        ...

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Return a number between `low` and `high`, both included."""
        ...
