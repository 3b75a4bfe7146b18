"""Bounds on the cost of a candidate, checked before it is trained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from nas_distill.config import CostBound, SpaceConfig, parse_share
from nas_distill.records import Cost

_Number = int | float

_UNITS = {
    "num_params": "parameters",
    "macs": "MACs",
    "size_bytes": "bytes",
    "peak_memory_bytes": "bytes of memory",
    "latency_ms": "ms",
    "throughput_per_s": "images/s",
}
_FLAGS = {
    "num_params": "--max-params",
    "macs": "--max-macs",
    "size_bytes": "--max-size-bytes",
    "peak_memory_bytes": "space.max_peak_memory_bytes",
    "latency_ms": "--max-latency-ms",
    "throughput_per_s": "--min-throughput",
}
_AT_LEAST = frozenset({"throughput_per_s"})
"""Costs whose bound is a lower one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on the cost of a candidate; None means unbounded.

    Attributes:
        max_params: Parameters.
        max_macs: Multiply-accumulates per image.
        max_size_bytes: Bytes of parameters and buffers at their stored precision.
        max_peak_memory_bytes: Bytes that exist at one time in a forward pass of one image.
        max_latency_ms: Time per image on the target, milliseconds.
        min_throughput_per_s: Images per second on the target.
        sources: Flag or rule that sets a bound, by field of `Cost`. Default: the flag of the bound.
    """

    max_params: int | None = None
    max_macs: int | None = None
    max_size_bytes: int | None = None
    max_peak_memory_bytes: int | None = None
    max_latency_ms: float | None = None
    min_throughput_per_s: float | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    def violations(self, cost: Cost) -> dict[str, float]:
        """Return log10(value / bound) by cost, above 0 where a bound is violated and comparable between bounds.

        For a lower bound the sign is reversed.

        Args:
            cost: Cost of a candidate. Bounds on what was not measured are left out.
        """
        # A network without matrix products counts 0 MACs.
        return {name: _sign(name) * math.log10((value or 1) / bound) for name, value, bound in self._compare(cost)}

    def rejection(self, cost: Cost) -> str | None:
        """Return the first violated bound as a one-line reason, or None if no bound is violated.

        Args:
            cost: Cost of a candidate; see `violations`.
        """
        for name, value, bound in self._compare(cost):
            if _sign(name) * value > _sign(name) * bound:
                return f"{_format(value)} {_UNITS[name]}; {self._source(name)} allows {_bound(name, bound)}"
        return None

    def describe(self) -> str:
        """Return all bounds and what sets them, one line, such as "at most 999 parameters (--max-params 10%)"."""
        bounds = [f"{_bound(name, bound)} {_UNITS[name]} ({self._source(name)})" for name, bound in self._bounds()]
        return ", ".join(bounds) or "no limits"

    def _bounds(self) -> Iterator[tuple[str, _Number]]:
        """Yield the field of `Cost` and the value allowed of each bound."""
        values = (
            self.max_params, self.max_macs, self.max_size_bytes, self.max_peak_memory_bytes, self.max_latency_ms,
            self.min_throughput_per_s,
        )  # fmt: skip
        yield from ((name, bound) for name, bound in zip(_UNITS, values, strict=True) if bound is not None)

    def _compare(self, cost: Cost) -> Iterator[tuple[str, _Number, _Number]]:
        """Yield the field of `Cost`, its value and its bound."""
        for name, bound in self._bounds():
            value = getattr(cost, name)
            if value is not None:
                yield name, value, bound

    def _source(self, name: str) -> str:
        return self.sources.get(name, _FLAGS[name])


def _sign(name: str) -> float:
    return -1.0 if name in _AT_LEAST else 1.0


def _bound(name: str, bound: _Number) -> str:
    return f"at {'least' if name in _AT_LEAST else 'most'} {_format(bound)}"


def make_limits(config: SpaceConfig, teacher: Cost) -> Limits:
    """Return the bounds of the configuration, with shares of the teacher as numbers.

    Unless the configuration allows larger students, they have fewer parameters than the teacher, and at most as many
    multiply-accumulates.

    Args:
        config: Section `space` of the configuration.
        teacher: Cost of the teacher, its multiply-accumulates for images of the search's size.
    """
    sources: dict[str, str] = {}

    def resolved(name: str, given: CostBound | None, *, at_most: int | None = None) -> int | None:
        bound = given
        if isinstance(given, str):
            sources[name] = f"{_FLAGS[name]} {given}"
            bound = max(1, math.floor((parse_share(given) or 1.0) * getattr(teacher, name)))
        assert not isinstance(bound, str)
        if at_most is None or config.allow_larger_than_teacher or (bound is not None and bound <= at_most):
            return bound
        sources[name] = f"the teacher's {'size' if name == 'num_params' else _UNITS[name]}"
        return at_most

    return Limits(
        max_params=resolved("num_params", config.max_params, at_most=teacher.num_params - 1),
        max_macs=resolved("macs", config.max_macs, at_most=teacher.macs or None),
        max_size_bytes=resolved("size_bytes", config.max_size_bytes),
        max_peak_memory_bytes=resolved("peak_memory_bytes", config.max_peak_memory_bytes),
        max_latency_ms=config.max_latency_ms,
        min_throughput_per_s=config.min_throughput_per_s,
        sources=sources,
    )


def _format(number: _Number) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:.3g}"
