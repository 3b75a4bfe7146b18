"""What `nas_distill pareto` found, as a value, and as CSV or JSON on standard output."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import pandas as pd

from nas_distill.analysis.front.arithmetic import Floats, coordinates
from nas_distill.analysis.front.picks import Pick
from nas_distill.analysis.trials.cells import parse_cell

if TYPE_CHECKING:
    from nas_distill.analysis.front.attainment import AttainmentSurface
    from nas_distill.analysis.front.comparison import Comparison
    from nas_distill.analysis.front.front import ParetoFront

SCHEMA_VERSION = 1
"""Of the JSON; docs/pareto.md describes it."""

_JSON_COLUMNS = ("arguments", "losses", "recipe", "class_gap_points", "curve_gap_points")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What is printed.

    Attributes:
        comparison: The runs side by side.
        students: Those of its students that are listed, cheapest first.
        where: The filter, as it was written; None without one.
        epsilon: What was given to thin the front by, per objective.
        searched: The front of the run as it was searched; None for several runs, with a filter, and under other
            objectives than the run's own.
        picks: From that front; empty without it.
    """

    comparison: Comparison
    students: pd.DataFrame
    where: str | None
    epsilon: Mapping[str, float]
    searched: ParetoFront | None = None
    picks: tuple[Pick, ...] = ()

    def picked(self, number: int) -> list[Pick]:
        """Returns the picks that chose a trial."""
        return [pick for pick in self.picks if pick.number == number]


def print_listing(listing: Listing, form: str) -> None:
    """Prints a listing as "csv" or "json" to standard output, and notes to standard error."""
    click.echo(_csv(listing) if form == "csv" else json.dumps(content(listing), indent=1, allow_nan=False), nl=False)
    if form == "json":
        click.echo()
    for note in listing.comparison.notes:
        click.echo(f"note: {note}", err=True)


def content(listing: Listing) -> dict[str, Any]:
    """Returns a listing as JSON values; numbers that are not known are None."""
    comparison = listing.comparison
    names = [objective.name for objective in comparison.objectives]
    return {
        "schema_version": SCHEMA_VERSION,
        "objectives": names,
        "where": listing.where,
        "epsilon": dict(listing.epsilon),
        "reference": dict(zip(names, comparison.reference, strict=True)),
        "hypervolume": comparison.hypervolume,
        "runs": [asdict(run) for run in comparison.runs],
        "students": [_student(listing, row) for row in listing.students.to_dict("records")],
        "picks": [pick.model_dump(mode="json") for pick in listing.picks],
        "epsilon_indicator": None if comparison.epsilon is None else [
            [None if math.isnan(value) else value for value in row] for row in comparison.epsilon.tolist()
        ],
        "attainment": [_surface(comparison, surface) for surface in comparison.surfaces],
        "notes": list(comparison.notes),
    }  # fmt: skip


def _surface(comparison: Comparison, surface: AttainmentSurface) -> dict[str, Any]:
    names = [objective.name for objective in comparison.objectives]
    points = in_own_units(comparison, surface.points).tolist()
    return {
        "level": surface.level,
        "runs": surface.searches,
        "points": [dict(zip(names, point, strict=True)) for point in points],
    }


def _student(listing: Listing, row: Mapping[Any, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {str(key): None if pd.isna(value) else value for key, value in row.items()}
    for name in _JSON_COLUMNS:
        values[name] = parse_cell(values[name])
    if values["completed_at"] is not None:
        values["completed_at"] = values["completed_at"].isoformat()
    return {**values, "picked_as": [pick.rule for pick in listing.picked(row["number"])]}


def _csv(listing: Listing) -> str:
    rules = [" ".join(pick.rule for pick in listing.picked(number)) for number in listing.students["number"]]
    return listing.students.assign(picked_as=rules).to_csv(index=False, lineterminator="\n")


def in_own_units(comparison: Comparison, points: Floats) -> Floats:
    """Returns minimised coordinates [N, M] as values of the objectives."""
    columns = [
        np.round(10.0**column) if objective.scale == "log10" else coordinates(column, objective)  # costs are counts
        for column, objective in zip(points.T, comparison.objectives, strict=True)
    ]
    return np.column_stack(columns)
