"""The device that students are for, and how their latency on it is found."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from nas_distill.config.rules import broken_rule
from nas_distill.records.base import Record


class TargetConfig(Record):
    """The device that students are for, and how their latency on it is found.

    Latencies are measured if an objective or a limit needs them, or if `measure` asks for them: before training, with
    random weights, in float32, and while all trainings of this user on the machine pause. Results are kept in `cache`,
    for all runs.

    Attributes:
        measure: Whether to measure every candidate even if neither an objective nor a limit needs it.
        runtime: "pytorch", or "onnxruntime", which needs the extra `export`.
        device: Processor of PyTorch: "cpu" or "cuda". ONNX Runtime always uses the CPU.
        threads: Number of CPU threads.
        batch_size: Images per batch for the throughput. Latencies are for one image.
        ray_resource: A custom resource of the Ray cluster. Candidates are measured on a node that has it, such as one
            of the target's kind on which nothing is trained. Default: the machine of the search.
        latency_table: CSV file with measured latencies, which replaces measuring. Columns: `network_id` or `model`;
            `latency_ms`, or timm's `infer_step_time` of rows with `infer_batch_size` 1; optionally `img_size` or
            `infer_img_size`, and `throughput_per_s`. A model's name means the architecture without further arguments.
        interpolate: Whether to estimate the latency of a candidate that the table lacks from the rows with the nearest
            numbers of multiply-accumulates (`macs`, or timm's `infer_gmacs`).
        latency_command: Command that measures an ONNX file and prints milliseconds in its last line; it replaces
            measuring here. The path of the file replaces `{onnx}`, or is added at the end.
        command_timeout_s: Longest time of one run of the command, seconds.
        command_retries: Number of times that the command is repeated after a failure.
        cache: SQLite file of earlier results. Default: `nas_distill/latency.db` in the user's cache folder.
    """

    measure: bool = False
    runtime: Literal["pytorch", "onnxruntime"] = "pytorch"
    device: Literal["cpu", "cuda"] = "cpu"
    threads: PositiveInt = 1
    batch_size: PositiveInt = 32
    ray_resource: Annotated[str, Field(min_length=1)] | None = None
    latency_table: str | None = None
    interpolate: bool = False
    latency_command: Annotated[str, Field(min_length=1)] | None = None
    command_timeout_s: PositiveFloat = 120.0
    command_retries: NonNegativeInt = 1
    cache: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.latency_table is not None and self.latency_command is not None:
            raise broken_rule(
                "cannot be given with target.latency_table: latencies come from one source; remove one of them",
                code="config.conflicting_values",
                field="target.latency_command",
            )
        if self.runtime == "onnxruntime" and self.device != "cpu":
            raise broken_rule(
                f"'{self.device}' is for PyTorch only; set target.runtime to pytorch, or remove it",
                code="config.conflicting_values",
                field="target.device",
            )
        if self.interpolate and self.latency_table is None:
            raise broken_rule(
                "needs a table; give --latency-table, or remove it",
                code="config.conflicting_values",
                field="target.interpolate",
            )
        return self
