"""Where and how wide the trials run, and how their networks are run there."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from nas_distill.records.base import Record

_IN_MEMORY = re.compile(r"sqlite(\+\w+)?://(/?(\?.*)?|.*(:memory:|mode=memory).*)")


class ExecutionConfig(Record):
    """How networks are run in training; "auto" times a few steps of each candidate and takes the fastest.

    A timing decides, so that two runs of one search may decide differently and end with slightly different weights;
    fix both to repeat a training bit by bit.

    Attributes:
        precision: Of activations in training; measurements are always made in float32.
        memory_format: Of weights and activations.
        attention: "fused" kernels or "plain" matrix products.
    """

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    attention: Literal["auto", "fused", "plain"] = "auto"

    def without_probe(self) -> ExecutionConfig:
        """Returns the same with float32, contiguous memory and fused attention where a probe would decide."""
        return ExecutionConfig(
            precision="float32" if self.precision == "auto" else self.precision,
            memory_format="contiguous" if self.memory_format == "auto" else self.memory_format,
            attention="fused" if self.attention == "auto" else self.attention,
        )


class ResourcesConfig(Record):
    """Where and how wide the trials run.

    Attributes:
        cpus_per_trial: CPU slots (and torch threads) per trial.
        gpus_per_trial: GPUs per trial; a fraction packs several trials on one. "auto" is 0 on a cluster without GPUs;
            on one with GPUs it packs as many trials as the memory that candidates need, which is measured, allows.
        max_parallel_trials: Upper bound on trials at once; by default what the cluster holds.
        address: A running Ray cluster to join (`auto`, or `HOST:PORT`); by default, or by `local`, one is started here.
        max_failures: How often a trial is started again after its worker died.
        storage: Optuna storage URL; by default SQLite in the run directory. It stands in the run's configuration in
            clear text: leave a password to the database's own means, such as PGPASSFILE.
        study_name: Name of the study there; by default one that no other run has.
        execution: How networks are run in training.
        checkpoint_interval_s: Seconds of training between checkpoints of a trial, at most its loss when its worker
            dies; an epoch is never cut in two. 0 writes one after every epoch.
    """

    cpus_per_trial: PositiveFloat = 1.0
    gpus_per_trial: Literal["auto"] | NonNegativeFloat = "auto"
    max_parallel_trials: PositiveInt | None = None
    address: str | None = None
    max_failures: NonNegativeInt = 2
    storage: str | None = None
    study_name: Annotated[str, Field(min_length=1)] = "nas_distill"
    execution: ExecutionConfig = Field(default_factory=ExecutionConfig)
    checkpoint_interval_s: NonNegativeFloat = 5.0

    @field_validator("address")
    @classmethod
    def _local_is_none(cls, value: str | None) -> str | None:
        return None if value == "local" else value

    @field_validator("gpus_per_trial", mode="before")
    @classmethod
    def _auto_or_a_number(cls, value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
        if value != "auto" and not number:
            raise ValueError("must be auto, or a number of at least 0")
        return value

    @field_validator("cpus_per_trial", "gpus_per_trial")
    @classmethod
    def _whole_above_one(cls, value: float | str) -> float | str:
        if isinstance(value, float) and value > 1 and value != int(value):
            raise ValueError("must be a whole number above 1, or a fraction below it: Ray divides nothing else")
        return value

    @field_validator("storage")
    @classmethod
    def _outlives_the_process(cls, value: str | None) -> str | None:
        if value is not None and _IN_MEMORY.fullmatch(value):
            raise ValueError(
                "a SQLite database in memory ends with the process, and its run could neither be resumed nor reported; "
                "give a file, such as sqlite:///study.db, or leave it out"
            )
        return value
