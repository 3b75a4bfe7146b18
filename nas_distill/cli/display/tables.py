"""Fronts and comparisons of runs as tables on a terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from nas_distill.analysis.formatting import MISSING, number_text, percent
from nas_distill.analysis.front.picks import describe
from nas_distill.analysis.trials.cells import parse_arguments
from nas_distill.cli.display.listing import Listing, in_own_units
from nas_distill.cli.display.sections import make_console
from nas_distill.objectives import OBJECTIVES

if TYPE_CHECKING:
    from nas_distill.analysis.front.comparison import Comparison

_ALWAYS = ("num_params", "macs", "gap_points", "top1", "agreement")
_SHORT = {
    "gap_points": "Gap, points",
    "agreement": "Agreement",
    "divergence_nats": "Divergence, nats",
    "nll_nats": "NLL, nats",
}
_OTHERS = {
    "top1": ("Top-1", "{:.2%}"),
    "latency_ms": ("Latency, ms", "{:.2f}"),
}


def print_tables(listing: Listing) -> None:
    """Prints the students, the picks and how several runs stand to each other to standard output."""
    console = make_console()
    comparison = listing.comparison
    console.print(_students(listing))
    for pick in listing.picks:
        assert listing.searched is not None
        text = f": {describe(pick, listing.searched)}. {pick.sentence}"
        console.print(Text.assemble((pick.title, "bold"), text))
    if len(comparison.runs) > 1:
        console.print(_runs(comparison))
    if comparison.epsilon is not None:
        console.print(_epsilon(comparison))
    if comparison.surfaces:
        console.print(_attainment(comparison))
    console.print(Text(_summary(listing)))
    for note in comparison.notes:
        console.print(Text(f"note: {note}"))


def _students(listing: Listing) -> Table:
    comparison, students = listing.comparison, listing.students
    several, whole = len(comparison.runs) > 1, len(students) and not students["on_front"].all()
    names = [*_ALWAYS, *(one.name for one in comparison.objectives if one.name not in _ALWAYS)]
    if students["latency_ms"].notna().any():
        names.insert(2, "latency_ms")
    table = Table(title=_title(listing), title_justify="left")
    for title in (*(["Run"] if several else []), "Trial", "Student", *map(_heading, names)):
        table.add_column(title, justify="left" if title in {"Run", "Student"} else "right", overflow="fold")
    for title in (*(["Front"] if whole else []), *(["Picked as"] if listing.picks else [])):
        table.add_column(title, justify="left")
    for row in students.to_dict("records"):
        cells = [*([row["run"]] if several else []), str(row["number"]), _student(row)]
        cells += [_cell(name, row[name]) for name in names]
        cells += ["front" if row["on_front"] else ""] if whole else []
        picked = ", ".join(pick.title for pick in listing.picked(row["number"]))
        cells += [picked] if listing.picks else []
        table.add_row(*map(Text, cells), style="bold" if picked else None)
    return table


def _title(listing: Listing) -> str:
    matching = len(listing.comparison.students)
    of = f"{matching} {'matching ' if listing.where else ''}student{'' if matching == 1 else 's'}"
    front = int(listing.comparison.students["on_front"].sum())
    if len(listing.students) == matching != front:
        return f"{of}, {front} of them on the Pareto front"
    if len(listing.students) < front:
        return f"Pareto front: {len(listing.students)} of its {front} students stand for it ({of})"
    return f"Pareto front: {front} of {of}"


def _runs(comparison: Comparison) -> Table:
    table = Table(title="Runs", title_justify="left")
    for title in ("Run", "Complete", "Stopped", "Failed", "Matching", "Front", "On joint front", "Hypervolume"):
        table.add_column(title, justify="left" if title == "Run" else "right")
    for run in comparison.runs:
        counts = (run.complete, run.stopped, run.failed, run.matching, run.front, run.on_joint_front)
        table.add_row(Text(run.name), *map(str, counts), f"{run.hypervolume:.4g}")
    return table


def _epsilon(comparison: Comparison) -> Table:
    assert comparison.epsilon is not None
    table = Table(title="Additive epsilon, row against column", title_justify="left")
    table.add_column("Front of")
    for run in comparison.runs:
        table.add_column(Text(run.name), justify="right")
    for run, values in zip(comparison.runs, comparison.epsilon, strict=True):
        table.add_row(Text(run.name), *(MISSING if math.isnan(value) else percent(value) for value in values))
    return table


def _attainment(comparison: Comparison) -> Table:
    """Returns one row per point of each attainment surface."""
    table = Table(title="Attainment: what so many of the runs reached", title_justify="left")
    table.add_column("Level", justify="right")
    table.add_column("Runs", justify="right")
    for objective in comparison.objectives:
        table.add_column(_heading(objective.name), justify="right")
    for surface in comparison.surfaces:
        head = [f"{surface.level:g} %", f"{surface.searches} of {len(comparison.runs)}"]
        points = in_own_units(comparison, surface.points)
        for place, point in enumerate(points):
            cells = [number_text(one, value) for one, value in zip(comparison.objectives, point, strict=True)]
            table.add_row(*(head if place == 0 else ["", ""]), *cells, end_section=place == len(points) - 1)
        if not len(points):
            table.add_row(*head, *[MISSING] * len(comparison.objectives), end_section=True)
    return table


def _summary(listing: Listing) -> str:
    comparison = listing.comparison
    bound = ", ".join(
        f"{number_text(one, value)} {one.label.lower() if one.name != 'macs' else one.label}"
        for one, value in zip(comparison.objectives, comparison.reference, strict=True)
    )
    return f"Hypervolume of the front: {comparison.hypervolume:.4g} within {bound}"


def _heading(name: str) -> str:
    if name in _OTHERS:
        return _OTHERS[name][0]
    return _SHORT.get(name, OBJECTIVES[name].label)


def _cell(name: str, value: Any) -> str:
    if pd.isna(value):
        return MISSING
    if name in _OTHERS:
        return _OTHERS[name][1].format(value).replace("%", " %")
    return number_text(OBJECTIVES[name], float(value))


def _student(row: Mapping[Any, Any]) -> str:
    """Returns a candidate as a call: "small_resnet(width=8)"; `MISSING` when it is not known."""
    if pd.isna(row["architecture"]):
        return MISSING
    arguments = parse_arguments(row["arguments"])
    return f"{row['architecture']}({', '.join(f'{name}={json.dumps(value)}' for name, value in arguments.items())})"
