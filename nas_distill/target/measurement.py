"""`Measurement`: what a source found about one network."""

from __future__ import annotations

from typing import Protocol

from pydantic import NonNegativeFloat, PositiveFloat

from nas_distill.records import Cost
from nas_distill.records.base import Record
from nas_distill.records.cost import Timing
from nas_distill.target.subject import Subject


class Measurement(Record):
    """Latency and throughput of one network.

    Attributes:
        latency_ms: Median time of one image, milliseconds.
        latency_iqr_ms: Interquartile range of this time, milliseconds; None when unknown.
        throughput_per_s: Images per second in batches; None when unknown.
        throughput_iqr_per_s: Interquartile range of the throughput, images per second; None when unknown.
        alone: Whether all trainings of this user on the machine paused meanwhile.
    """

    latency_ms: PositiveFloat
    latency_iqr_ms: NonNegativeFloat | None = None
    throughput_per_s: PositiveFloat | None = None
    throughput_iqr_per_s: NonNegativeFloat | None = None
    alone: bool = True

    def added_to(self, cost: Cost) -> Cost:
        """Return a cost with this latency and throughput."""
        return cost.model_copy(update=self.model_dump(exclude={"alone"}))


def of_timings(single: Timing, batch: Timing, batch_size: int, *, alone: bool) -> Measurement:
    """Return the measurement of the times of one image and of one batch."""
    throughput = 1e3 * batch_size / batch.median_ms
    return Measurement(
        latency_ms=single.median_ms,
        latency_iqr_ms=single.iqr_ms,
        throughput_per_s=throughput,
        throughput_iqr_per_s=throughput * batch.iqr_ms / batch.median_ms,
        alone=alone,
    )


class Source(Protocol):
    """Where latencies come from.

    Attributes:
        name: "pytorch", "onnxruntime", "table" or "command".
        version: What must be equal for results to be comparable: version of a runtime, digest of a file.
        device: The processor.
    """

    @property
    def name(self) -> str:
        """Name of the source."""
        ...

    @property
    def version(self) -> str:
        """What must be equal for results to be comparable."""
        ...

    @property
    def device(self) -> str:
        """The processor."""
        ...

    def measure(self, subject: Subject) -> Measurement:
        """Return latency and throughput of a network.

        Raises:
            UnmeasuredError: This network cannot be measured.
        """
        ...
