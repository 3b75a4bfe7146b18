"""Early stopping of weak trials."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from nas_distill.records.base import Record


class AshaConfig(Record):
    """Early stopping of weak trials by asynchronous successive halving (ASHA, Li et al. 2020, arXiv 1810.05934).

    Trials are compared at rungs: fixed numbers of epochs. At each rung, about 1 in `reduction_factor` trials continues.

    Attributes:
        rule: Rule that compares the trials of a rung: "volume", "layers", "residual", or a rule of a plugin. "none"
            stops no trial.
        reduction_factor: Trials that reach a rung, per trial that continues beyond it; above 1.
        grace_epochs: Epochs that every trial trains. Default: a tenth of `recipe.epochs`, rounded up.
        rungs: Epochs after which weak trials are stopped, ascending and below `recipe.epochs`. Default: `recipe.epochs`
            divided by `reduction_factor` once, twice and so on, down to `grace_epochs`.
        startup_trials: Number of trials that continue at each rung before any is stopped there, so that a short search
            is left with as many students.
    """

    rule: Annotated[str, Field(min_length=1)] = "volume"
    reduction_factor: Annotated[float, Field(gt=1.0)] = 3.0
    grace_epochs: PositiveInt | None = None
    rungs: tuple[PositiveInt, ...] | None = Field(default=None, examples=[(3, 10)])
    startup_trials: NonNegativeInt = 4

    @field_validator("rungs")
    @classmethod
    def _ascending(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (not value or any(low >= high for low, high in pairwise(value))):
            raise ValueError("must list epochs in ascending order, such as [3, 10]; asha.rule=none stops no trial")
        return value
