"""A candidate student."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from nas_distill.records.base import FrozenArguments, Record

RANDOM, FROM_TEACHER, PRETRAINED = "random", "teacher", "pretrained"
"""Values of `StudentSpec.initial_weights`, besides `run:RUN/TRIAL`."""

InitialWeights = Annotated[str, Field(pattern=r"^(random|teacher|pretrained|run:.+/\d+)$")]


class StudentSpec(Record):
    """A candidate: a timm architecture name, its constructor arguments and its initial weights.

    Attributes:
        architecture: Name of an architecture for `timm.create_model`, including `small_resnet` and those that a space
            registers.
        arguments: Keyword arguments of the constructor, JSON values only. The data set `num_classes`, `in_chans` and,
            if the architecture has it, `img_size`; the recipe sets the drop rates.
        family: Group of the candidate in figures and diagnosis; by default the architecture.
        initial_weights: Weights that training starts from: "random"; "teacher", cut from the teacher; "pretrained",
            timm's own weights of the architecture; or "run:RUN/TRIAL", those of a student of another run. None in a
            candidate of a space leaves the choice to the search; a recorded candidate has a value.
    """

    architecture: Annotated[str, Field(min_length=1)]
    arguments: FrozenArguments = Field(default_factory=dict)
    family: str = ""
    initial_weights: InitialWeights | None = None

    @model_validator(mode="before")
    @classmethod
    def _default_family(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("family"):
            return {**values, "family": values.get("architecture", "")}
        return values

    @property
    def spec_id(self) -> str:
        """Hash of the canonical JSON, 12 hexadecimal digits."""
        return self.digest()

    @property
    def starts_from_random(self) -> bool:
        """Whether training starts from random weights."""
        return self.initial_weights in (None, RANDOM)

    @property
    def network_id(self) -> str:
        """Hash of the candidate without its initial weights: equal for candidates that are the same network."""
        return self.model_copy(update={"initial_weights": None}).digest()

    def keyword_arguments(self) -> dict[str, Any]:
        """Return a mutable copy of `arguments`, with sequences as tuples."""
        return {key: dict(value) if isinstance(value, Mapping) else value for key, value in self.arguments.items()}

    def __eq__(self, other: object) -> bool:
        # By digest, like the hash: 1, 1.0 and True are equal in Python, but three candidates in JSON.
        return isinstance(other, StudentSpec) and self.spec_id == other.spec_id

    def __hash__(self) -> int:
        return hash(self.spec_id)
