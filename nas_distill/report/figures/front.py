"""The figure of the Pareto front: quality against cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isnan
from typing import Literal

import numpy as np

from nas_distill.analysis.formatting import number_text, quantity
from nas_distill.analysis.front.arithmetic import coordinates
from nas_distill.analysis.front.picks import RuleName
from nas_distill.objectives import Objective
from nas_distill.records import TrialStatus
from nas_distill.report.content import ReportContent, Row, rows
from nas_distill.report.figures.axis import Axis, cost_axis, quality_axis
from nas_distill.report.figures.labels import Box, Label, place_labels, text_box

COLOURS = 8
MARKERS = 8

_LABELS: dict[RuleName, str] = {
    "smallest_within_tolerance": "Within tolerance",
    "knee": "Trade-off",
    "best_quality": "Best",
}
"""Short titles: even all three together must fit into the narrow figure."""


@dataclass(frozen=True, slots=True)
class FamilyStyle:
    """Colour and marker of a family.

    Attributes:
        name: Name of the family.
        colour: Index of the colour, below `COLOURS`.
        marker: Index of the marker, below `MARKERS`.
        count: Number of students of the family in the figure.
    """

    name: str
    colour: int
    marker: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The marker of a student.

    Attributes:
        number: Trial number.
        x: Pixels from the left.
        y: Pixels from the top.
        style: Style of its family.
        role: Size of the marker, increasing from "dominated" to "front" to "pick".
        text: Text of the tooltip, several lines.
    """

    number: int
    x: float
    y: float
    style: FamilyStyle
    role: Literal["dominated", "front", "pick"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """The interval of a student's gap.

    Attributes:
        x: Pixels from the left.
        top: Upper end, pixels from the top.
        bottom: Lower end, pixels from the top.
    """

    x: float
    top: float
    bottom: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherMark:
    """The cost of the teacher on the cost axis.

    Attributes:
        x: Position of its line, or the right edge of the plot if the cost lies beyond it, pixels.
        beyond: Whether the cost lies beyond the right edge of the plot.
        label: Text of the label.
        label_x: Right end of the label, pixels.
        label_y: Base line of the label, pixels.
    """

    x: float
    beyond: bool
    label: str
    label_x: float
    label_y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontFigure:
    """Students by cost and quality.

    Attributes:
        key: Name of this size of the figure, which keeps element ids unique.
        width: Width, pixels.
        height: Height, pixels.
        plot: Area inside the axes.
        x_ticks: Position and label of each tick.
        y_ticks: Position and label of each tick.
        x_title: Title of the cost axis.
        y_title: Title of the quality axis.
        level_y: Position of the teacher's quality; None if it is out of range.
        teacher: Cost of the teacher.
        step: The front as an SVG path.
        points: Markers of the students, dominated ones first, then the front from left to right.
        bars: Intervals of the gaps of the front; empty if the quality is another objective.
        labels: Labels of the picks.
        compressed: Whether the quality axis is compressed.
    """

    key: str
    width: float
    height: float
    plot: Box
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    x_title: str
    y_title: str
    level_y: float | None
    teacher: TeacherMark
    step: str
    points: tuple[Point, ...]
    bars: tuple[Bar, ...]
    labels: tuple[Label, ...]
    compressed: bool

    @property
    def has_bars(self) -> bool:
        """Whether intervals are drawn."""
        return bool(self.bars)


def family_styles(content: ReportContent) -> dict[str, FamilyStyle]:
    """Return the style of each family of the fully trained students, by name in alphabetical order."""
    complete = content.trials[content.trials["status"] == TrialStatus.COMPLETE]
    counts = complete["family"].value_counts()
    names = sorted(str(name) for name in counts.index)
    # Each round of markers shifts the colours by one, so that 64 families have 64 different styles.
    return {
        name: FamilyStyle(name, (index + index // MARKERS) % COLOURS, index % MARKERS, int(counts[name]))
        for index, name in enumerate(names)
    }


def front_figure(content: ReportContent, *, key: str, width: float, height: float) -> FrontFigure:
    """Lay out the figure of a front with at least one student.

    Args:
        content: Values of the report.
        key: Name of this size of the figure.
        width: Width, pixels.
        height: Height, pixels.
    """
    front, cost, quality = content.front, content.front.cost, content.front.quality
    students = [row for row in rows(content.trials) if _shown(row, (cost, quality))]
    plot = Box(58.0, 34.0, width - 18.0, height - 46.0)
    y = quality_axis([row[quality.name] for row in students], quality, length=plot.bottom - plot.top)
    teacher_cost = float(content.teacher.cost.model_dump()[cost.name])
    costs = [float(row[cost.name]) for row in students]
    beyond = _far_beyond(teacher_cost, costs, cost)
    x = cost_axis(costs if beyond else [*costs, teacher_cost], cost, length=plot.right - plot.left)
    points = _points(content, students, plot, x, y)
    teacher = _teacher_mark(teacher_cost, cost, plot, x, beyond=beyond)
    level = 0.0 if quality.name == "gap_points" else None
    size = text_box(teacher.label, 0.0, 0.0)
    taken = [Box(teacher.label_x - size.right, plot.top, teacher.label_x, plot.top + size.bottom)]
    on_front = [point for number in front.numbers for point in points if point.number == number]
    step = _step(on_front, plot, upwards=quality.direction == "maximize")
    return FrontFigure(
        key=key, width=width, height=height, plot=plot,
        x_ticks=tuple((plot.across(tick.share), tick.label) for tick in x.ticks),
        y_ticks=tuple((plot.up(tick.share), tick.label) for tick in y.ticks),
        x_title=_cost_title(cost),
        y_title=f"{quality.label}{f', {quality.unit}' if quality.unit else ''}",
        level_y=plot.up(y.share(level)) if level is not None and y.low <= level <= y.high else None,
        teacher=teacher, step="M" + "L".join(f"{left} {top}" for left, top in step), points=points,
        bars=_bars(content, points, plot, y) if quality.name == "gap_points" else (),
        labels=_labels(content, points, plot, step, taken), compressed=y.scale == "compressed",
    )  # fmt: skip


def _cost_title(cost: Objective) -> str:
    unit = "" if cost.is_count else f", {cost.unit}"
    return f"{cost.label}{unit} (log scale{', faster to the left' if cost.direction == 'maximize' else ''})"


def _shown(row: Row, objectives: Sequence[Objective]) -> bool:
    return row["status"] == TrialStatus.COMPLETE and not any(isnan(row[one.name]) for one in objectives)


def _far_beyond(teacher_cost: float, costs: Sequence[float], objective: Objective) -> bool:
    """Tell whether including the teacher would leave over two fifths of the axis empty."""
    teacher, *students = coordinates(np.array([teacher_cost, *costs]), objective)
    return bool(teacher - max(students) > max(max(students) - min(students), 0.6) * 2.0 / 3.0)


def _points(content: ReportContent, students: Sequence[Row], plot: Box, x: Axis, y: Axis) -> tuple[Point, ...]:
    front, styles = content.front, family_styles(content)
    members, picked = set(front.numbers), {pick.number for pick in content.picks}
    points = []
    for row in students:
        number = row["number"]
        values = ", ".join(quantity(one, float(row[one.name])) for one in front.objectives)
        title = ": ".join(filter(None, (f"Trial {number}", content.picked_as(number))))
        points.append(
            Point(
                number=number,
                x=plot.across(x.share(float(row[front.cost.name]))),
                y=plot.up(y.share(row[front.quality.name])),
                style=styles[row["family"]],
                role="pick" if number in picked else "front" if number in members else "dominated",
                text="\n".join((title, row["architecture"], values)),
            )
        )
    # The order is that of the keyboard focus, which skips dominated students.
    return tuple(sorted(points, key=lambda point: (point.role != "dominated", point.x)))


def _bars(content: ReportContent, points: Sequence[Point], plot: Box, y: Axis) -> tuple[Bar, ...]:
    bars = []
    for point in points:
        if point.role != "dominated":
            gap = content.gaps[point.number]
            ends = (gap.points + gap.half_width_points, gap.points - gap.half_width_points)
            high, low = (plot.up(y.share(min(max(end, y.low), y.high))) for end in ends)
            bars.append(Bar(x=point.x, top=min(high, low), bottom=max(high, low)))
    return tuple(bars)


def _teacher_mark(value: float, cost: Objective, plot: Box, axis: Axis, *, beyond: bool) -> TeacherMark:
    size = number_text(cost, value)
    x = plot.right if beyond else plot.across(axis.share(value))
    label = f"Teacher {size} \N{RIGHTWARDS ARROW}" if beyond else f"Teacher {size}"
    return TeacherMark(x=x, beyond=beyond, label=label, label_x=x - 6.0, label_y=plot.top + 12.0)


def _step(members: Sequence[Point], plot: Box, *, upwards: bool) -> list[tuple[float, float]]:
    """Return the corners of the line of best quality at each cost, from the cheapest member to the right edge.

    With more than two objectives, the line skips members that are dominated in these two.
    """
    best: list[Point] = []
    for point in sorted(members, key=lambda point: (point.x, point.y if upwards else -point.y)):
        # y grows downwards: a better value is further down for a minimised quality.
        if not best or (point.y <= best[-1].y if upwards else point.y >= best[-1].y):
            best.append(point)
    corners = [(best[0].x, best[0].y)]
    for before, after in pairwise(best):
        corners += [(after.x, before.y), (after.x, after.y)]
    return [*corners, (plot.right, best[-1].y)]


def _labels(
    content: ReportContent,
    points: Sequence[Point],
    plot: Box,
    step: Sequence[tuple[float, float]],
    taken: Sequence[Box],
) -> tuple[Label, ...]:
    titles: dict[int, list[str]] = {}
    for pick in content.picks:
        if pick.number is not None:
            titles.setdefault(pick.number, []).append(_LABELS[pick.rule])
    wanted = [
        (f"{' + '.join(titles[point.number])} (#{point.number})", point.x, point.y)
        for point in points
        if point.number in titles
    ]
    return place_labels(wanted, plot=plot, points=[(point.x, point.y) for point in points], line=step, taken=taken)
