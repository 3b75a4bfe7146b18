"""What a network costs, and how that was measured."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from nas_distill.records.base import Record


class Cost(Record):
    """Cost of a network, known before training. Branches that a network has for training only are merged first.

    Attributes:
        num_params: Number of trainable and frozen parameters, without buffers.
        macs: Multiply-accumulate operations of one forward pass of one image.
        size_bytes: Size of parameters and buffers at their stored precision, bytes.
        size_fp16_bytes: Size with floating-point tensors as float16, bytes.
        size_int8_bytes: Size after static quantisation, bytes: weights of convolutions and linear layers as int8 with
            one float32 scale per output channel, everything else as stored.
        peak_memory_bytes: Parameters, buffers and the most activations that exist at one time in a forward pass of one
            image, bytes. Scratch memory of operators and what a runtime saves or adds are not counted.
        latency_ms: Median time for one image on the target, milliseconds (see `TargetConfig`); None when it was not
            measured.
        latency_iqr_ms: Interquartile range of this time, milliseconds; None when unknown.
        throughput_per_s: Images per second in batches on the target, from the median time of a batch; None when it was
            not measured.
        throughput_iqr_per_s: Interquartile range of the throughput, images per second; None when unknown.
    """

    num_params: PositiveInt
    macs: NonNegativeInt
    size_bytes: PositiveInt
    size_fp16_bytes: PositiveInt | None = None
    size_int8_bytes: PositiveInt | None = None
    peak_memory_bytes: PositiveInt | None = None
    latency_ms: PositiveFloat | None = None
    latency_iqr_ms: NonNegativeFloat | None = None
    throughput_per_s: PositiveFloat | None = None
    throughput_iqr_per_s: NonNegativeFloat | None = None


class Timing(Record):
    """Time of one call of a network.

    Attributes:
        median_ms: Median over interleaved rounds, milliseconds.
        iqr_ms: Interquartile range over the rounds, milliseconds.
    """

    median_ms: PositiveFloat
    iqr_ms: NonNegativeFloat


class TargetRecord(Record):
    """Where and how the latencies of a run were measured, and the teacher's; `target.json` of the run directory.

    Attributes:
        schema_version: Version of this record on disk.
        source: What measured: "pytorch", "onnxruntime", "table" or "command".
        version: Version of the runtime, or digest of the table or of the command's files.
        device: The processor, as the machine names it; for a table or a command, its name.
        threads: Number of CPU threads; None for a table or a command.
        batch_size: Images per batch of the throughput; None where it is not measured.
        precision: Precision of the numbers.
        teacher: Cost of the teacher, with its latency and throughput.
    """

    schema_version: Literal[1] = 1
    source: Literal["pytorch", "onnxruntime", "table", "command"]
    version: str
    device: str
    threads: PositiveInt | None = None
    batch_size: PositiveInt | None = None
    precision: str = "float32"
    teacher: Cost

    @property
    def description(self) -> str:
        """Where and how latencies were found, as one clause."""
        if self.source in ("table", "command"):
            return f"the {self.source} {self.device}"
        runtime = "PyTorch" if self.source == "pytorch" else "ONNX Runtime"
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        return f"{runtime} {self.version} on {self.device}, {threads}, {self.precision}"
