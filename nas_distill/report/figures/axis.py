"""Axes of the figures: ranges, scales and round ticks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import asinh, ceil, floor, log10, sinh
from typing import Literal

from nas_distill.analysis.formatting import MINUS
from nas_distill.objectives import Objective

ScaleName = Literal["linear", "log10", "compressed"]

_SCALES: dict[ScaleName, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "linear": (float, float),
    "log10": (log10, lambda place: float(10.0**place)),
    "compressed": (asinh, sinh),
}

_WIDE_GAP_RANGE_POINTS = 15.0
"""With a larger spread of gaps, a linear axis would squeeze the accurate students into one line."""

_MANTISSAS = ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,))
_X_TICK_PX = 58.0
_Y_TICK_PX = 24.0


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled position.

    Attributes:
        share: Position along the axis, 0 to 1.
        label: Text of the label.
    """

    share: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A range of values and its scale.

    Attributes:
        scale: Name of the scale. "compressed" is asinh: linear within about 1 of zero, logarithmic beyond, with signs.
        low: Value at the start of the axis.
        high: Value at the end of the axis, above `low`.
        ticks: Ticks in ascending order.
        reversed: Whether `high` is at the start.
    """

    scale: ScaleName
    low: float
    high: float
    ticks: tuple[Tick, ...] = ()
    reversed: bool = False

    def share(self, value: float) -> float:
        """Return the position of a value along the axis: 0 at its start, 1 at its end.

        On a log10 scale, values below `low` are at `low`, such as the zero multiply-accumulates of a network without
        matrix products.
        """
        to_scale, _ = _SCALES[self.scale]
        shown = max(value, self.low) if self.scale == "log10" else value
        share = (to_scale(shown) - to_scale(self.low)) / (to_scale(self.high) - to_scale(self.low))
        return 1.0 - share if self.reversed else share


def cost_axis(values: Sequence[float], objective: Objective, *, length: float) -> Axis:
    """Return a horizontal logarithmic axis that contains all values, with a margin on both sides.

    The cheapest student is on the left, so an axis of throughput is reversed.

    Args:
        values: At least one cost, each at least 0.
        objective: The cost objective, which determines the tick labels.
        length: Length of the axis, pixels, which limits the number of ticks.
    """
    low, high = _with_room([max(value, objective.smallest) for value in values], "log10", share=0.05, least=0.3)
    low = max(low, objective.smallest)
    decades = range(floor(log10(low)), ceil(log10(high)) + 1)
    series = [[mantissa * 10.0**decade for decade in decades for mantissa in chosen] for chosen in _MANTISSAS]
    series += [[10.0**decade for decade in decades[::stride]] for stride in (2, 3, 4)]
    axis = Axis(scale="log10", low=low, high=high, reversed=objective.direction == "maximize")
    return _with_ticks(axis, [*series, _round_steps(low, high)], objective, spacing=_X_TICK_PX / length)


def quality_axis(values: Sequence[float], objective: Objective, *, length: float) -> Axis:
    """Return a vertical axis of a quality that contains all values, with a margin on both sides.

    An axis of gaps always contains zero, the level of the teacher, and is compressed if the gaps spread over more than
    15 points. A minimum range keeps rounding errors from filling the axis.

    Args:
        values: At least one quality.
        objective: The quality objective, which determines scale and tick labels.
        length: Length of the axis, pixels, which limits the number of ticks.
    """
    spacing = _Y_TICK_PX / length
    if objective.unit == "points":
        values = [*values, 0.0]
        if max(values) - min(values) > _WIDE_GAP_RANGE_POINTS:
            low, high = _with_room(values, "compressed", share=0.06, least=0.0)
            axis = Axis(scale="compressed", low=low, high=high)
            return _with_ticks(axis, _symmetric_series(), objective, spacing=spacing)
    low, high = _with_room(values, "linear", share=0.08, least=2.0 if objective.unit == "points" else 0.02)
    axis = Axis(scale="linear", low=low if objective.unit == "points" else max(low, 0.0), high=high)
    series = [_round_steps(axis.low, high, parts=parts) for parts in (8, 5, 3)]
    return _with_ticks(axis, series, objective, spacing=spacing)


def epoch_axis(epochs: int, *, length: float) -> Axis:
    """Return a horizontal axis of the epochs 1 to `epochs`, which is at least 2."""
    axis = Axis(scale="linear", low=1.0, high=float(epochs))
    series = [
        [step for step in _round_steps(0.0, axis.high, parts=parts) if step == int(step)]
        for parts in (epochs, 12, 8, 5, 3)
    ]
    ticks = tuple(Tick(axis.share(one), f"{one:g}") for one in _spaced(axis, series, 30.0 / length))
    return replace(axis, ticks=ticks)


def tick_label(value: float, objective: Objective) -> str:
    """Return the label of a round number: "10k", "1.5M", "20 kB", "95 %"."""
    if objective.scale == "log10":
        size, prefix = next(
            ((size, prefix) for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if value >= size),
            (1.0, ""),
        )
        return f"{value / size:.6g}{f' {prefix}B' if objective.unit == 'bytes' else prefix}"
    if not objective.unit:
        return f"{100.0 * value:.6g} %"
    # Round first: multiples of 0.1 contain -1.4e-17 instead of zero.
    text = f"{abs(round(value, 9)):.6g}"
    return f"{MINUS if round(value, 9) < 0 else ''}{text}"


def _with_room(values: Sequence[float], scale: ScaleName, *, share: float, least: float) -> tuple[float, float]:
    """Return the range of the values, widened by a share on each side, to at least `least` on the scale."""
    to_scale, to_value = _SCALES[scale]
    low, high = to_scale(min(values)), to_scale(max(values))
    room = max(share * (high - low), (least - (high - low)) / 2.0)
    return to_value(low - room), to_value(high + room)


def _with_ticks(axis: Axis, series: Sequence[Sequence[float]], objective: Objective, *, spacing: float) -> Axis:
    ticks = tuple(Tick(axis.share(value), tick_label(value, objective)) for value in _spaced(axis, series, spacing))
    return replace(axis, ticks=ticks)


def _symmetric_series() -> list[list[float]]:
    series = []
    for chosen in _MANTISSAS:
        steps = [mantissa * ten for ten in (1.0, 10.0, 100.0) for mantissa in chosen]
        series.append([*(-step for step in reversed(steps)), 0.0, *steps])
    return series


def _spaced(axis: Axis, series: Iterable[Sequence[float]], spacing: float) -> Sequence[float]:
    """Return the first series with at least two values on the axis that are at least `spacing` apart.

    If all series are too dense, return a subset of the last one.
    """
    inside: list[float] = []
    for values in series:
        inside = [value for value in values if axis.low <= value <= axis.high]
        shares = [axis.share(value) for value in inside]
        if len(inside) >= 2 and all(abs(b - a) >= spacing for a, b in pairwise(shares)):
            return inside
    kept: list[float] = []
    for value in inside:
        if not kept or abs(axis.share(value) - axis.share(kept[-1])) >= spacing:
            kept.append(value)
    return kept


def _round_steps(low: float, high: float, *, parts: int = 5) -> list[float]:
    """Return the multiples of 1, 2 or 5 times a power of ten in a range, at most about `parts` of them."""
    raw = (high - low) / parts
    power = 10.0 ** floor(log10(raw))
    step = next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= raw * (1.0 - 1e-9))
    return [round(index * step, 12) for index in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]
