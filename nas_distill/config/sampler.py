"""The sampler that proposes candidates."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from nas_distill.errors import nearest_names
from nas_distill.records.base import Record

SAMPLERS = ("gp", "nsga2", "nsga3", "random", "tpe")
"""Names of the shipped samplers, sorted."""

StoppedTrialValue = Literal["failed", "reached", "extrapolated"]
"""The value that is reported to the sampler for a stopped trial."""

_OWN_SAMPLER = re.compile(r"(?:.+\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):[A-Za-z_]\w*")


class SamplerConfig(Record):
    """The sampler that proposes candidates.

    Attributes:
        name: A shipped sampler ("gp", "nsga2", "nsga3", "random", "tpe"), or your own as `module:Class` or
            `FILE.py:Class`.
        stopped_trial_value: The value reported to the sampler for a trial that early stopping ended: "failed" (no
            value), "reached" (the values at its last epoch) or "extrapolated" (its qualities extrapolated to full
            fidelity). Stopped trials are never on the Pareto front.
    """

    name: Annotated[str, Field(min_length=1)] = "tpe"
    stopped_trial_value: StoppedTrialValue = "reached"

    @field_validator("name")
    @classmethod
    def _shipped_or_own(cls, value: str) -> str:
        if value not in SAMPLERS and not _OWN_SAMPLER.fullmatch(value):
            raise ValueError(
                f"'{value}' is not a shipped sampler; {nearest_names(value, SAMPLERS)}; write your own as module:Class "
                "or FILE.py:Class"
            )
        return value
