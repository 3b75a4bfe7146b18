"""What a candidate may cost before it is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nas_distill.config import SpaceConfig
from nas_distill.models.latency import Latency
from nas_distill.records import Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Upper bounds that a candidate must keep before it is trained; None is no bound.

    Attributes:
        max_params: Parameters.
        max_macs: Multiply-accumulates per image.
        max_params_reason: What sets the bound on parameters.
        max_size_bytes: Parameters and buffers at their stored precision.
        max_latency_ms: Time for one image on one thread of the driver's CPU, milliseconds.
    """

    max_params: int | None
    max_macs: int | None
    max_params_reason: str
    max_size_bytes: int | None = None
    max_latency_ms: float | None = None

    def violations(self, cost: Cost, latency: Latency | None = None) -> dict[str, float]:
        """Returns log10(value / bound) per bound: above 0 where violated, comparable between bounds."""
        bounds: dict[str, tuple[float, float | None]] = {
            "num_params": (cost.num_params, self.max_params),
            "macs": (max(cost.macs, 1), self.max_macs),
            "size_bytes": (cost.size_bytes, self.max_size_bytes),
        }
        if latency is not None:
            bounds["latency_ms"] = (latency.median_ms, self.max_latency_ms)
        return {name: math.log10(value / bound) for name, (value, bound) in bounds.items() if bound is not None}

    def rejection(self, cost: Cost, latency: Latency | None = None) -> str | None:
        """Returns why a candidate of this cost is not trained, or None."""
        if self.max_params is not None and cost.num_params > self.max_params:
            return f"{cost.num_params:,} parameters, {self.max_params_reason} allows {self.max_params:,}"
        if self.max_macs is not None and cost.macs > self.max_macs:
            return f"{cost.macs:,} MACs, --max-macs allows {self.max_macs:,}"
        if self.max_size_bytes is not None and cost.size_bytes > self.max_size_bytes:
            return f"{cost.size_bytes:,} bytes, --max-size-bytes allows {self.max_size_bytes:,}"
        if latency is not None and self.max_latency_ms is not None and latency.median_ms > self.max_latency_ms:
            return (
                f"{latency.median_ms:.3g} ms (interquartile range {latency.iqr_ms:.2g} ms), --max-latency-ms allows "
                f"{self.max_latency_ms:g}"
            )
        return None


def make_limits(config: SpaceConfig, teacher: Cost) -> Limits:
    """Returns the bounds of `config`, and that of the teacher's size unless larger students were asked for."""
    smaller_than_teacher = teacher.num_params - 1
    bounded = not config.allow_larger_than_teacher and (config.max_params or math.inf) > smaller_than_teacher
    return Limits(
        max_params=smaller_than_teacher if bounded else config.max_params,
        max_params_reason="being smaller than the teacher" if bounded else "--max-params",
        max_macs=config.max_macs,
        max_size_bytes=config.max_size_bytes,
        max_latency_ms=config.max_latency_ms,
    )
