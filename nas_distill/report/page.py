"""The HTML page of the report: one self-contained file without network requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import isnan

from jinja2 import Environment, PackageLoader, StrictUndefined

from nas_distill.analysis.decision.commands import confirm_command
from nas_distill.analysis.formatting import number_text, percent, quantity, signed
from nas_distill.analysis.front.picks import Pick
from nas_distill.analysis.initial_weights import describe_initial_weights
from nas_distill.records import RANDOM
from nas_distill.report.content import ReportContent, Row, arguments_text, rows
from nas_distill.report.figures.curves import curve_figure
from nas_distill.report.figures.front import FamilyStyle, family_styles, front_figure
from nas_distill.report.sections.facts import hardest_class, run_facts
from nas_distill.report.sections.section import Section
from nas_distill.report.sections.usage import how_to_use
from nas_distill.report.tables import FRONT_COLUMNS, INT8_COLUMNS, TRIAL_COLUMNS, Column, column_of, with_objectives
from nas_distill.version import __version__

_WIDE, _NARROW = (1080.0, 460.0), (372.0, 380.0)
_MAX_REJECTIONS = 50
_CARD_FACTS = (
    "num_params", "macs", "size_bytes", "size_fp16_bytes", "size_int8_bytes", "peak_memory_bytes", "latency_ms",
    "throughput_per_s", "top1", "nll_nats", "ece", "agreement", "wall_time_s",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: Displayed text.
        value: Value to sort by, as text.
        numeric: Whether the cell is aligned and sorted as a number.
        key: Key of the column.
    """

    text: str
    value: str
    numeric: bool
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """A row of a table of trials.

    Attributes:
        number: Trial number.
        cells: One cell per column.
        architecture: Architecture of the candidate; empty if unknown.
        arguments: Arguments of the candidate, as text.
        style: Style of the family; None for a student that the figures do not show.
        role: "pick", "front" or empty.
        picked_as: Titles of the rules that picked the student.
    """

    number: int
    cells: tuple[Cell, ...]
    architecture: str
    arguments: str
    style: FamilyStyle | None
    role: str
    picked_as: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The card of a pick.

    Attributes:
        pick: The rule and its choice.
        row: The student; None if no student satisfies the rule.
        figures: Value and unit of the first quality and cost objectives, shown in large print.
        facts: Term and text of each further line.
        trust: How far the scores can be trusted.
        command: Command that confirms the student; empty if it was confirmed.
    """

    pick: Pick
    row: TableRow | None
    figures: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    trust: str = ""
    command: str = ""


def render_page(content: ReportContent, sections: Sequence[Section]) -> str:
    """Return the page as HTML. All texts are escaped.

    Args:
        content: Values of the report.
        sections: Sections between the front and the learning curves.
    """
    front_columns, trial_columns = (with_objectives(columns, content) for columns in (FRONT_COLUMNS, TRIAL_COLUMNS))
    figures = {"wide": _WIDE, "narrow": _NARROW} if len(content.front.members) else {}
    sized = [(key, width, height) for key, (width, height) in figures.items()]
    curves = [curve_figure(content, key=key, width=width, height=height) for key, width, height in sized]
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            content=content,
            version=__version__,
            headline=content.decision.headline,
            facts=run_facts(content),
            sections=sections,
            cards=[_card(content, pick) for pick in content.picks],
            usage=how_to_use(content),
            families=list(family_styles(content).values()),
            fronts=[front_figure(content, key=key, width=width, height=height) for key, width, height in sized],
            curves=[figure for figure in curves if figure is not None],
            front_columns=front_columns,
            front_rows=_table(content, front_columns, rows(content.front.members)),
            trial_columns=trial_columns,
            trial_rows=_table(content, trial_columns, rows(content.trials)),
            failures=[row for row in rows(content.trials) if row["error"]],
            rejections=content.rejections[:_MAX_REJECTIONS],
        )
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("nas_distill.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _table(content: ReportContent, columns: Sequence[Column], lines: Sequence[Row]) -> list[TableRow]:
    styles = family_styles(content)
    return [_table_row(content, columns, row, styles) for row in lines]


def _table_row(content: ReportContent, columns: Sequence[Column], row: Row, styles: dict[str, FamilyStyle]) -> TableRow:
    number = int(row["number"])
    picked_as = content.picked_as(number)
    cells = tuple(
        Cell(
            text=column.text(row),
            value=_sortable(row[column.key], column.text(row)) if column.numeric else "",
            numeric=column.numeric,
            key=column.key,
        )
        for column in columns
    )
    return TableRow(
        number=number,
        cells=cells,
        architecture=row["architecture"],
        arguments=arguments_text(row["arguments"]),
        style=styles.get(row["family"]) if row["status"] == "complete" else None,
        role="pick" if picked_as else "front" if number in content.front.numbers else "",
        picked_as=picked_as,
    )


def _sortable(value: float, text: str) -> str:
    """Return a short text of a number to sort by, its own text if that sorts alike; empty if it is missing."""
    if text.endswith(" %"):
        return text
    return "" if value != value else f"{value:.5g}"  # noqa: PLR0124 - NaN alone differs from itself


def _card(content: ReportContent, pick: Pick) -> Card:
    if pick.number is None:
        return Card(pick=pick, row=None, figures=(), facts=())
    front = content.front
    row = next(row for row in rows(front.members) if row["number"] == pick.number)
    figures = []
    for objective in (front.cost, front.quality):
        text = quantity(objective, pick.values[objective.name])
        number = number_text(objective, pick.values[objective.name])
        figures.append((number, text.removeprefix(number).strip() or objective.label.lower()))
    large = {front.cost.name, front.quality.name}
    facts = [("Gap on the validation images", _gap_with_interval(content, pick.number))]
    facts.append(("Of the teacher's parameters", percent(float(row["capacity_ratio"]))))
    facts.extend((column.title, column.text(row)) for column in map(column_of, _CARD_FACTS) if column.key not in large)
    facts.extend((one.title, one.text(row)) for one in INT8_COLUMNS if not isnan(row[one.key]))
    facts.append(("Starts from", describe_initial_weights(row["initial_weights"] or RANDOM)))
    hardest = hardest_class(content, pick)
    if hardest:
        facts.append(("Hardest class", hardest))
    table_row = _table_row(content, (), row, family_styles(content))
    seeds = sum(record.number == pick.number and record.status == "complete" for record in content.confirmations)
    return Card(
        pick=pick, row=table_row, figures=tuple(figures), facts=tuple(facts),
        trust="Retrained by confirm; its scores are below." if seeds else "One seed, not confirmed.",
        command="" if seeds else confirm_command(content.run, [pick.number]),
    )  # fmt: skip


def _gap_with_interval(content: ReportContent, number: int) -> str:
    gap = content.gaps[number]
    return f"{signed(gap.points, 1)} \N{PLUS-MINUS SIGN} {gap.half_width_points:.1f} points {gap.basis}"
