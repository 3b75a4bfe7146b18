"""A candidate student and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from nas_distill.records.base import FrozenArguments, Record


class StudentSpec(Record):
    """A candidate: a timm architecture name and its constructor arguments.

    Attributes:
        architecture: A name that `timm.create_model` knows (`small_resnet` and what a space registers included).
        arguments: Keyword arguments of the constructor, JSON values only. The data decide `num_classes`,
            `in_chans` and, where the architecture takes it, `img_size`; the recipe decides the drop rates.
        family: Group under which figures and diagnosis file the candidate; by default the architecture.
    """

    architecture: Annotated[str, Field(min_length=1)]
    arguments: FrozenArguments = Field(default_factory=dict)
    family: str = ""

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

    def keyword_arguments(self) -> dict[str, Any]:
        """Returns a mutable copy of `arguments`, sequences as tuples."""
        return {key: dict(value) if isinstance(value, Mapping) else value for key, value in self.arguments.items()}

    def __eq__(self, other: object) -> bool:
        # By digest, as the hash: Python's 1, 1.0 and True are equal, but three candidates in JSON.
        return isinstance(other, StudentSpec) and self.spec_id == other.spec_id

    def __hash__(self) -> int:
        return hash(self.spec_id)


class Cost(Record):
    """What a network costs, all known before training.

    Attributes:
        num_params: Trainable and frozen parameters, without buffers.
        macs: Multiply-accumulates of one forward pass of one image.
        size_bytes: Parameters and buffers at their stored precision.
        latency_ms: Median time for one image on one thread of the driver's CPU, milliseconds; None where the search
            had no bound on it (`space.max_latency_ms`) and did not measure it.
    """

    num_params: PositiveInt
    macs: NonNegativeInt
    size_bytes: PositiveInt
    latency_ms: PositiveFloat | None = None
