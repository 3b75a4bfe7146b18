"""Who proposes candidates, and what it is told of trials that were stopped early."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from nas_distill.errors import nearest_names
from nas_distill.records.base import Record

SAMPLERS = ("gp", "nsga2", "nsga3", "random", "tpe")
"""Names of the shipped samplers, sorted."""

StoppedAs = Literal["failed", "reached", "extrapolated"]

_OWN_SAMPLER = re.compile(r"(?:.+\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):[A-Za-z_]\w*")


class SamplerConfig(Record):
    """Who proposes candidates.

    Attributes:
        name: A shipped sampler, or one's own as `module:Class` or `FILE.py:Class`.
        stopped_trial_value: What a trial that a scheduler stopped is told to the sampler as: "failed", with no value;
            "reached", with the values at its last epoch; "extrapolated", with its qualities extrapolated to full
            fidelity. Whatever it is told as, it does not stand on the front.
    """

    name: Annotated[str, Field(min_length=1)] = "tpe"
    stopped_trial_value: StoppedAs = "reached"

    @field_validator("name")
    @classmethod
    def _shipped_or_own(cls, value: str) -> str:
        if value not in SAMPLERS and not _OWN_SAMPLER.fullmatch(value):
            raise ValueError(
                f"'{value}' is no shipped sampler; {nearest_names(value, SAMPLERS)}; give your own as module:Class or "
                "FILE.py:Class"
            )
        return value
