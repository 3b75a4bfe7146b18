"""The objectives a search can have: their direction, scale and unit, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nas_distill.errors import ConfigError, nearest_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One axis of the search.

    Attributes:
        name: Column name, the same in the study, the report and on the command line.
        kind: "quality" is measured by training; "cost" is known from the spec before training.
        direction: What users want; inside, everything is minimised (see `minimised`).
        scale: Axis on which distances, knees and hypervolumes are taken; sizes are compared by ratio, so log10.
        unit: Unit for people; empty for a plain ratio.
        label: Axis title.
    """

    name: str
    kind: Literal["quality", "cost"]
    direction: Literal["minimize", "maximize"]
    scale: Literal["linear", "log10"]
    unit: str
    label: str

    def minimised(self, value: float) -> float:
        """Returns `value` with its sign turned where the objective is maximised."""
        return -value if self.direction == "maximize" else value


_ALL = (
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
)  # fmt: skip

OBJECTIVES: dict[str, Objective] = {objective.name: objective for objective in _ALL}


def get_objective(name: str) -> Objective:
    """Returns the objective called `name`.

    Raises:
        ConfigError: There is no such objective.
    """
    if name not in OBJECTIVES:
        raise ConfigError(f"objectives: '{name}' is not an objective; {nearest_names(name, OBJECTIVES)}")
    return OBJECTIVES[name]


def check_objectives(names: Sequence[str]) -> tuple[Objective, ...]:
    """Returns the objectives called `names`, which must be two to four, distinct, and mix quality with cost.

    Raises:
        ConfigError: A name is unknown or repeated, there are fewer than two or more than four, or the
            trade-off lacks a quality or a cost.
    """
    chosen = tuple(get_objective(name) for name in names)
    if not 2 <= len(chosen) <= 4:
        raise ConfigError(f"objectives: {len(chosen)} given ({', '.join(names)}); a trade-off takes two to four")
    if len(set(names)) != len(names):
        raise ConfigError(f"objectives: a name is repeated in {', '.join(names)}; name each once")
    if {objective.kind for objective in chosen} != {"quality", "cost"}:
        qualities = ", ".join(o.name for o in _ALL if o.kind == "quality")
        costs = ", ".join(o.name for o in _ALL if o.kind == "cost")
        raise ConfigError(
            f"objectives: {', '.join(names)} is no trade-off; take at least one of {qualities} and one of {costs}"
        )
    return chosen
