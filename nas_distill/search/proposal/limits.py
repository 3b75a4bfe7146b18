"""Upper bounds on the cost of a candidate, checked before it is trained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from nas_distill.config import CostBound, SpaceConfig, parse_share
from nas_distill.records import Cost

_Number = int | float

_UNITS = {"num_params": "parameters", "macs": "MACs", "size_bytes": "bytes", "latency_ms": "ms"}
_FLAGS = {
    "num_params": "--max-params",
    "macs": "--max-macs",
    "size_bytes": "--max-size-bytes",
    "latency_ms": "--max-latency-ms",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Upper bounds on the cost of a candidate; None means unbounded.

    Attributes:
        max_params: Parameters.
        max_macs: Multiply-accumulates per image.
        max_size_bytes: Bytes of parameters and buffers at their stored precision.
        max_latency_ms: Time per image on one thread of the driver's CPU, milliseconds.
        sources: Flag or rule that sets a bound, by field of `Cost`. Default: the flag of the bound.
    """

    max_params: int | None = None
    max_macs: int | None = None
    max_size_bytes: int | None = None
    max_latency_ms: float | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    def violations(self, cost: Cost) -> dict[str, float]:
        """Return log10(value / bound) by cost, above 0 where a bound is violated and comparable between bounds.

        Args:
            cost: Cost of a candidate. A bound on latency is left out while `latency_ms` is None.
        """
        # A network without matrix products counts 0 MACs.
        return {name: math.log10((value or 1) / bound) for name, value, bound in self._compare(cost)}

    def rejection(self, cost: Cost) -> str | None:
        """Return the first violated bound as a one-line reason, or None if no bound is violated.

        Args:
            cost: Cost of a candidate; see `violations`.
        """
        for name, value, bound in self._compare(cost):
            if value > bound:
                return f"{_format(value)} {_UNITS[name]}; {self._source(name)} allows at most {_format(bound)}"
        return None

    def describe(self) -> str:
        """Return all bounds and what sets them, one line, such as "at most 999 parameters (--max-params 10%)"."""
        bounds = [f"{_format(bound)} {_UNITS[name]} ({self._source(name)})" for name, bound in self._bounds()]
        return f"at most {', '.join(bounds)}" if bounds else "no limits"

    def _bounds(self) -> Iterator[tuple[str, _Number]]:
        """Yield the field of `Cost` and the largest value allowed of each bound."""
        values = (self.max_params, self.max_macs, self.max_size_bytes, self.max_latency_ms)
        yield from ((name, bound) for name, bound in zip(_UNITS, values, strict=True) if bound is not None)

    def _compare(self, cost: Cost) -> Iterator[tuple[str, _Number, _Number]]:
        """Yield the field of `Cost`, its value and its bound."""
        for name, bound in self._bounds():
            value = getattr(cost, name)
            if value is not None:
                yield name, value, bound

    def _source(self, name: str) -> str:
        return self.sources.get(name, _FLAGS[name])


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
        max_latency_ms=config.max_latency_ms,
        sources=sources,
    )


def _format(number: _Number) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:.3g}"
