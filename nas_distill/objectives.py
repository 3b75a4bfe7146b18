"""The objectives of a search: direction, scale and unit of each, in one registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nas_distill.errors import ConfigError, nearest_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One objective of a search, and one axis of the Pareto front.

    Attributes:
        name: Column name, the same in the study, the report and on the command line.
        kind: "quality" is measured by training; "cost" is known from the architecture before training.
        direction: Whether smaller or larger values are better. Internally all objectives are minimised.
        scale: Scale of the axis for distances, knees and hypervolumes. Sizes are compared by ratio, hence "log10".
        smallest: Values below it count as it on the scale "log10", such as the zero multiply-accumulates of a network
            without matrix products.
        unit: Unit in texts; empty for a ratio.
        label: Axis title.
        reference: Value of a useless student, which bounds the hypervolume. None for the shipped objectives: theirs
            depend on the teacher and the number of classes.
    """

    name: str
    kind: Literal["quality", "cost"]
    direction: Literal["minimize", "maximize"]
    scale: Literal["linear", "log10"]
    unit: str
    label: str
    reference: float | None = None
    smallest: float = 1.0

    @property
    def is_count(self) -> bool:
        """Whether values are whole numbers."""
        return self.scale == "log10" and self.smallest == 1.0

    def minimised(self, value: float) -> float:
        """Return `value`, negated if the objective is maximised."""
        return -value if self.direction == "maximize" else value


_SMALLEST_TIME = 1e-9

MEASURED_OBJECTIVES = frozenset({"latency_ms", "throughput_per_s"})
"""Objectives that are measured on the target (`TargetConfig`)."""

AFTER_TRAINING = frozenset({"int8_gap_points"})
"""Objectives of fronts and picks that a search cannot have: they are measured when it has ended."""

_SHIPPED = (
    Objective(
        name="gap_points", kind="quality", direction="minimize", scale="linear",
        unit="points", label="Capacity gap",
    ),
    Objective(
        name="divergence_nats", kind="quality", direction="minimize", scale="linear",
        unit="nats", label="Divergence from the teacher",
    ),
    Objective(
        name="nll_nats", kind="quality", direction="minimize", scale="linear",
        unit="nats", label="Negative log-likelihood",
    ),
    Objective(
        name="agreement", kind="quality", direction="maximize", scale="linear",
        unit="", label="Agreement with the teacher",
    ),
    Objective(
        name="int8_gap_points", kind="quality", direction="minimize", scale="linear",
        unit="points", label="Capacity gap, int8",
    ),
    Objective(
        name="num_params", kind="cost", direction="minimize", scale="log10",
        unit="parameters", label="Parameters",
    ),
    Objective(
        name="macs", kind="cost", direction="minimize", scale="log10",
        unit="multiply-accumulates", label="MACs",
    ),
    Objective(
        name="size_bytes", kind="cost", direction="minimize", scale="log10",
        unit="bytes", label="Size",
    ),
    Objective(
        name="size_int8_bytes", kind="cost", direction="minimize", scale="log10",
        unit="bytes", label="Size, int8",
    ),
    Objective(
        name="peak_memory_bytes", kind="cost", direction="minimize", scale="log10",
        unit="bytes", label="Peak memory",
    ),
    Objective(
        name="latency_ms", kind="cost", direction="minimize", scale="log10",
        unit="ms", label="Latency", smallest=_SMALLEST_TIME,
    ),
    Objective(
        name="throughput_per_s", kind="cost", direction="maximize", scale="log10",
        unit="images/s", label="Throughput", smallest=_SMALLEST_TIME,
    ),
)  # fmt: skip

OBJECTIVES: dict[str, Objective] = {objective.name: objective for objective in _SHIPPED}
"""The registry: name -> objective. Add to it with `register_objective`."""


def register_objective(objective: Objective) -> None:
    """Add an objective to the registry.

    Args:
        objective: Its name is a numeric field of `StudentMetrics` and `EpochMetrics` (quality) or of `Cost` (cost).

    Raises:
        ValueError: The name is taken.
    """
    if OBJECTIVES.setdefault(objective.name, objective) != objective:
        raise ValueError(f"an objective called '{objective.name}' is registered already")


def get_objective(name: str) -> Objective:
    """Return the objective called `name`.

    Raises:
        ConfigError: No objective has this name.
    """
    if name not in OBJECTIVES:
        raise ConfigError(
            f"'{name}' is not an objective; {nearest_names(name, OBJECTIVES)}",
            code="config.unknown_objective",
            field="objectives",
        )
    return OBJECTIVES[name]


def check_objectives(names: Sequence[str]) -> tuple[Objective, ...]:
    """Return the objectives called `names`: two to four different ones, at least one quality and one cost.

    Raises:
        ConfigError: A name is unknown or repeated, there are fewer than two or more than four, or the objectives lack
            a quality or a cost.
    """
    if isinstance(names, str):  # a text is a sequence of its letters
        names = (names,)
    chosen = tuple(get_objective(name) for name in names)
    if not 2 <= len(chosen) <= 4:
        raise ConfigError(
            f"{len(chosen)} given ({', '.join(names)}); name two to four",
            code="config.objective_count",
            field="objectives",
        )
    if len(set(names)) != len(names):
        raise ConfigError(
            f"a name is repeated in {', '.join(names)}; name each once",
            code="config.repeated_objective",
            field="objectives",
        )
    if {objective.kind for objective in chosen} != {"quality", "cost"}:
        qualities = ", ".join(one.name for one in OBJECTIVES.values() if one.kind == "quality")
        costs = ", ".join(one.name for one in OBJECTIVES.values() if one.kind == "cost")
        raise ConfigError(
            f"{', '.join(names)} are no trade-off; take at least one of {qualities} and one of {costs}",
            code="config.no_trade_off",
            field="objectives",
        )
    return chosen
