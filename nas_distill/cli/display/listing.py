"""The answer of `nas_distill pareto` as CSV or JSON on standard output."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
import pandas as pd

from nas_distill.analysis.trials.cells import csv_text, parse_cell
from nas_distill.report.listing import Listing, in_own_units

if TYPE_CHECKING:
    from nas_distill.analysis.front.attainment import AttainmentSurface
    from nas_distill.analysis.front.comparison import Comparison

SCHEMA_VERSION = 2
"""Version of the JSON format, which docs/how-to/compare-runs.md describes."""

_JSON_COLUMNS = ("arguments", "losses", "recipe", "class_gap_points", "curve_gap_points")


def print_listing(listing: Listing, form: str) -> None:
    """Print a listing as "csv" or "json" to standard output, and its notes to standard error."""
    if form == "csv":
        click.echo(_csv(listing), nl=False)
    else:
        click.echo(json.dumps(json_content(listing), indent=1, allow_nan=False))
    for note in listing.comparison.notes:
        click.echo(f"note: {note}", err=True)


def json_content(listing: Listing) -> dict[str, Any]:
    """Return a listing as JSON values; unknown numbers are None."""
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
        "headline": None if listing.decision is None else listing.decision.headline.model_dump(mode="json"),
        "picks": [pick.model_dump(mode="json") for pick in listing.picks],
        "epsilon_indicator": None if comparison.epsilon is None else [
            [None if math.isnan(value) else value for value in row] for row in comparison.epsilon.tolist()
        ],
        "attainment": [_surface(comparison, surface) for surface in comparison.surfaces],
        "notes": list(comparison.notes),
    }  # fmt: skip


def _surface(comparison: Comparison, surface: AttainmentSurface) -> dict[str, Any]:
    names = [objective.name for objective in comparison.objectives]
    points = in_own_units(surface.points, comparison.objectives).tolist()
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
    return {**values, "picked_as": [pick.rule for pick in listing.picks_of(row["number"])]}


def _csv(listing: Listing) -> str:
    rules = [" ".join(pick.rule for pick in listing.picks_of(number)) for number in listing.students["number"]]
    return csv_text(listing.students.assign(picked_as=rules))
