"""What is needed to call a student: its network, its input and its classes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from nas_distill.records.base import FrozenArguments, Record
from nas_distill.records.normalisation import Normalisation
from nas_distill.records.resizing import Resizing


class StudentInterface(Record):
    """What is needed to call a student; `student.json` next to the weights in the folder of a trial.

    Attributes:
        schema_version: Version of this record on disk.
        architecture: Name of the architecture for `timm.create_model`.
        arguments: Constructor arguments, without the numbers of classes and channels and the image size.
        class_names: Names of the classes, in the order of the outputs.
        channels: Number of input channels, 1 (grey) or 3 (RGB).
        image_size: Height and width of the input, pixels.
        resizing: How images of other sizes are resized.
        normalisation: Mean and standard deviation that pixels are normalised with, for pixels from 0 to 1.
    """

    schema_version: Literal[1] = 1
    architecture: Annotated[str, Field(min_length=1)]
    arguments: FrozenArguments = Field(default_factory=dict)
    class_names: Annotated[tuple[str, ...], Field(min_length=2)]
    channels: Literal[1, 3]
    image_size: PositiveInt
    resizing: Resizing = Field(default_factory=Resizing)
    normalisation: Normalisation
