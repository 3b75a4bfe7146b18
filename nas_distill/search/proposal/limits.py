"""Upper bounds on the cost of a candidate, checked before it is trained."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from nas_distill.config import SpaceConfig
from nas_distill.records import Cost

_Number = int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Upper bounds on the cost of a candidate; None means unbounded.

    Attributes:
        max_params: Parameters.
        max_macs: Multiply-accumulates per image.
        max_size_bytes: Bytes of parameters and buffers at their stored precision.
        max_latency_ms: Time per image on one thread of the driver's CPU, milliseconds.
        max_params_source: Flag or rule that sets `max_params`, for the reason of a rejection.
    """

    max_params: int | None = None
    max_macs: int | None = None
    max_size_bytes: int | None = None
    max_latency_ms: float | None = None
    max_params_source: str = "--max-params"

    def violations(self, cost: Cost) -> dict[str, float]:
        """Return log10(value / bound) by cost, above 0 where a bound is violated and comparable between bounds.

        Args:
            cost: Cost of a candidate. A bound on latency is left out while `latency_ms` is None.
        """
        # A network without matrix products counts 0 MACs.
        return {one.name: math.log10((one.value or 1) / one.bound) for one in self._compare(cost)}

    def rejection(self, cost: Cost) -> str | None:
        """Return the first violated bound as a one-line reason, or None if no bound is violated.

        Args:
            cost: Cost of a candidate; see `violations`.
        """
        for one in self._compare(cost):
            if one.value > one.bound:
                return f"{_format(one.value)} {one.unit}; {one.source} allows at most {_format(one.bound)}"
        return None

    def _compare(self, cost: Cost) -> Iterator[_Comparison]:
        bounds: tuple[tuple[str, str, _Number | None, str], ...] = (
            ("num_params", "parameters", self.max_params, self.max_params_source),
            ("macs", "MACs", self.max_macs, "--max-macs"),
            ("size_bytes", "bytes", self.max_size_bytes, "--max-size-bytes"),
            ("latency_ms", "ms", self.max_latency_ms, "--max-latency-ms"),
        )
        for name, unit, bound, source in bounds:
            value = getattr(cost, name)
            if bound is not None and value is not None:
                yield _Comparison(name=name, unit=unit, value=value, bound=bound, source=source)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Comparison:
    """One cost of a candidate and its bound.

    Attributes:
        name: Field of `Cost`.
        unit: Unit, as a reader expects it.
        value: Cost of the candidate.
        bound: Largest cost allowed.
        source: Flag or rule that sets the bound.
    """

    name: str
    unit: str
    value: _Number
    bound: _Number
    source: str


def make_limits(config: SpaceConfig, teacher: Cost) -> Limits:
    """Return the bounds of the configuration; students must be smaller than the teacher unless it allows larger ones.

    Args:
        config: Section `space` of the configuration.
        teacher: Cost of the teacher.
    """
    below_teacher = teacher.num_params - 1
    teacher_bounds = not config.allow_larger_than_teacher and (config.max_params or math.inf) > below_teacher
    return Limits(
        max_params=below_teacher if teacher_bounds else config.max_params,
        max_macs=config.max_macs,
        max_size_bytes=config.max_size_bytes,
        max_latency_ms=config.max_latency_ms,
        max_params_source="the teacher's size" if teacher_bounds else "--max-params",
    )


def _format(number: _Number) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:.3g}"
