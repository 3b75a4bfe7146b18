"""The answer of `nas_distill pareto` as tables on a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from nas_distill.analysis.formatting import MISSING, number_text, percent, quantity
from nas_distill.cli.display.sections import make_console, print_headline
from nas_distill.report import pick_text
from nas_distill.report.content import rows
from nas_distill.report.listing import Listing, in_own_units
from nas_distill.report.tables import column_of, has_initial_weights

if TYPE_CHECKING:
    from nas_distill.analysis.front.comparison import Comparison

_TEXTS = frozenset({"Run", "Student", "Starts from"})
_ALWAYS = ("num_params", "macs", "gap_points", "top1", "agreement")


def print_tables(listing: Listing) -> None:
    """Print the students, the picks and the comparison of several runs to standard output."""
    console = make_console()
    comparison = listing.comparison
    console.print(_students(listing))
    if listing.decision is not None:
        print_headline(console, listing.decision.headline)
    for pick in listing.picks:
        assert listing.front is not None
        console.print(Text.assemble((pick.title, "bold"), f": {pick_text(pick, listing.front)}"))
    if len(comparison.runs) > 1:
        console.print(_runs(comparison))
    if comparison.epsilon is not None:
        console.print(_epsilon(comparison))
    if comparison.surfaces:
        console.print(_attainment(comparison))
    console.print(Text(_hypervolume(comparison)))
    for note in comparison.notes:
        console.print(Text(f"note: {note}"))


def _students(listing: Listing) -> Table:
    comparison, students = listing.comparison, listing.students
    several, mixed = len(comparison.runs) > 1, len(students) and not students["on_front"].all()
    measured = [name for name in ("latency_ms", "throughput_per_s") if students[name].notna().any()]
    names = [*_ALWAYS[:2], *measured, *_ALWAYS[2:]]
    names += [one.name for one in comparison.objectives if one.name not in names]
    if has_initial_weights(students):
        names.append("initial_weights")
    columns = [column_of(name) for name in ("number", "architecture", *names)]
    table = Table(title=_title(listing), title_justify="left")
    for title in (*(["Run"] if several else []), *(column.title for column in columns)):
        table.add_column(title, justify="left" if title in _TEXTS else "right", overflow="fold")
    for title in (*(["Front"] if mixed else []), *(["Picked as"] if listing.picks else [])):
        table.add_column(title, justify="left")
    for row in rows(students):
        cells = [*([row["run"]] if several else []), *(column.text(row) for column in columns)]
        cells += ["front" if row["on_front"] else ""] if mixed else []
        picked = ", ".join(pick.title for pick in listing.picks_of(row["number"]))
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
        return f"Pareto front, thinned to {len(listing.students)} of {front} students ({of})"
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
    table = Table(title="Additive epsilon indicator of the front in the row against the column", title_justify="left")
    table.add_column("Front of")
    for run in comparison.runs:
        table.add_column(Text(run.name), justify="right")
    for run, values in zip(comparison.runs, comparison.epsilon, strict=True):
        table.add_row(Text(run.name), *(MISSING if math.isnan(value) else percent(value) for value in values))
    return table


def _attainment(comparison: Comparison) -> Table:
    """Return one row per point of each attainment surface."""
    table = Table(title="Attainment: trade-offs reached by at least the given share of the runs", title_justify="left")
    table.add_column("Level", justify="right")
    table.add_column("Runs", justify="right")
    for objective in comparison.objectives:
        table.add_column(column_of(objective.name).title, justify="right")
    for surface in comparison.surfaces:
        head = [f"{surface.level:g} %", f"{surface.searches} of {len(comparison.runs)}"]
        points = in_own_units(surface.points, comparison.objectives)
        for place, point in enumerate(points):
            cells = [number_text(one, value) for one, value in zip(comparison.objectives, point, strict=True)]
            table.add_row(*(head if place == 0 else ["", ""]), *cells, end_section=place == len(points) - 1)
        if not len(points):
            table.add_row(*head, *[MISSING] * len(comparison.objectives), end_section=True)
    return table


def _hypervolume(comparison: Comparison) -> str:
    reference = ", ".join(
        quantity(one, value) for one, value in zip(comparison.objectives, comparison.reference, strict=True)
    )
    return f"Hypervolume of the front: {comparison.hypervolume:.4g} (reference point: {reference})"
