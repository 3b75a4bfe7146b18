"""Compute resources of trials, and the numerics of training."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from nas_distill.config.parsing.durations import seconds
from nas_distill.config.parsing.storage_url import check_no_password, expand
from nas_distill.records.base import Record

_IN_MEMORY = re.compile(r"sqlite(\+\w+)?://(/?(\?.*)?|.*(:memory:|mode=memory).*)")


class ExecutionConfig(Record):
    """Numerics of training. "auto" times a few steps of each candidate and takes the fastest option.

    Timings vary, so two runs of the same search may choose differently and end with slightly different weights. Set all
    three keys to reproduce a training bit by bit.

    Attributes:
        precision: Precision of activations in training. Evaluation always uses float32.
        memory_format: Memory layout of weights and activations.
        attention: "fused" attention kernels or "plain" matrix products.
    """

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    attention: Literal["auto", "fused", "plain"] = "auto"

    def without_probe(self) -> ExecutionConfig:
        """Return a copy in which float32, contiguous memory and fused attention replace "auto"."""
        return ExecutionConfig(
            precision="float32" if self.precision == "auto" else self.precision,
            memory_format="contiguous" if self.memory_format == "auto" else self.memory_format,
            attention="fused" if self.attention == "auto" else self.attention,
        )


class ResourcesConfig(Record):
    """Compute resources of trials, and where the study is stored.

    Attributes:
        cpus_per_trial: CPUs (and torch threads) per trial: a whole number, or a fraction below 1.
        gpus_per_trial: GPUs per trial, at most 1; a fraction shares a GPU between trials. "auto" uses no GPU on a
            cluster without any; on a cluster with GPUs it measures the memory of candidates and packs as many trials as
            fit.
        max_parallel_trials: Largest number of parallel trials. Default: as many as the cluster can hold.
        address: Address of a running Ray cluster: `auto` or `HOST:PORT`. `local`, the default, starts a cluster on this
            machine; inside a Ray job it means the job's cluster.
        wait_for_resources_s: How long to wait for a node that can hold a trial, seconds: a number, or text such as
            "10m". An autoscaler starts one meanwhile. Default: no wait.
        max_failures: How often a trial is restarted after its worker died.
        storage: Optuna storage URL. Default: SQLite in the run directory. A password is given as the
            name of an environment variable, such as `postgresql://user:${DB_PASSWORD}@host/name`.
        study_name: Name of the study in a shared storage. Default: a unique name there.
        execution: Numerics of training.
        checkpoint_interval_s: Seconds of training between checkpoints of a trial. A trial whose worker dies repeats at
            most this much. Checkpoints are written between epochs; 0 writes one after every epoch.
    """

    cpus_per_trial: PositiveFloat = 1.0
    gpus_per_trial: Literal["auto"] | NonNegativeFloat = "auto"
    max_parallel_trials: PositiveInt | None = None
    address: str | None = None
    wait_for_resources_s: PositiveFloat | None = None
    max_failures: NonNegativeInt = 2
    storage: str | None = None
    study_name: Annotated[str, Field(min_length=1)] = "nas_distill"
    execution: ExecutionConfig = Field(default_factory=ExecutionConfig)
    checkpoint_interval_s: NonNegativeFloat = 5.0

    @field_validator("address")
    @classmethod
    def _local_is_none(cls, value: str | None) -> str | None:
        return None if value == "local" else value

    @field_validator("wait_for_resources_s", mode="before")
    @classmethod
    def _seconds(cls, value: Any) -> Any:
        return seconds(value)

    @field_validator("gpus_per_trial", mode="before")
    @classmethod
    def _auto_or_a_number(cls, value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
        if value != "auto" and not number:
            raise ValueError("must be auto or a number of at least 0")
        return value

    @field_validator("cpus_per_trial")
    @classmethod
    def _whole_above_one(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError("must be a whole number or a fraction below 1; Ray cannot allocate anything else")
        return value

    @field_validator("gpus_per_trial")
    @classmethod
    def _at_most_one(cls, value: float | str) -> float | str:
        if isinstance(value, float) and value > 1:
            raise ValueError("must be at most 1: a trial trains on one GPU, and others would be idle")
        return value

    @field_validator("storage")
    @classmethod
    def _outlives_the_process(cls, value: str | None) -> str | None:
        if value is not None and _IN_MEMORY.fullmatch(value):
            raise ValueError(
                "an in-memory SQLite database is lost when the process ends; give a file, such as sqlite:///study.db, "
                "or leave the key out"
            )
        if value is not None:
            check_no_password(value)
        return value

    @property
    def storage_url(self) -> str | None:
        """The storage URL with the values of its environment variables; None for the run's own database.

        Raises:
            ConfigError: A variable is not set.
        """
        return None if self.storage is None else expand(self.storage)
