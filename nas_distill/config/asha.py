"""Early stopping of weak trials."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import Field, PositiveInt, field_validator

from nas_distill.records.base import Record


class AshaConfig(Record):
    """Asynchronous successive halving: which trials are stopped before their last epoch (`search.asha`).

    Attributes:
        rule: How trials at a rung are compared: "volume", "layers" or "residual"; "none" stops no trial.
        reduction_factor: About one in so many goes on at each rung.
        grace_epochs: No trial is stopped before; a tenth of `recipe.epochs`, rounded up, by default.
        rungs: Epochs after which weak trials are stopped; by default `recipe.epochs` divided by the reduction factor
            once, twice and so on, down to the grace.
    """

    rule: Annotated[str, Field(min_length=1)] = "volume"
    reduction_factor: Annotated[float, Field(gt=1.0)] = 3.0
    grace_epochs: PositiveInt | None = None
    rungs: tuple[PositiveInt, ...] | None = Field(default=None, examples=[(3, 10)])

    @field_validator("rungs")
    @classmethod
    def _ascending(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (not value or any(low >= high for low, high in pairwise(value))):
            raise ValueError("must name one epoch or more, ascending, such as [3, 10]; asha.rule=none stops no trial")
        return value
