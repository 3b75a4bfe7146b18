"""The figure of the learning curves of the front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nas_distill.analysis.formatting import signed
from nas_distill.analysis.trials.cells import parse_gaps
from nas_distill.objectives import OBJECTIVES
from nas_distill.report.content import ReportContent, Row, rows
from nas_distill.report.figures.axis import epoch_axis, quality_axis
from nas_distill.report.figures.front import FamilyStyle, family_styles
from nas_distill.report.figures.labels import Box

_MAX_POINTS = 60
_LABEL_PX = 16.0
_LABEL_ROOM_PX = 104.0

Curve = tuple[tuple[int, float], ...]
"""Epoch (from 1) and capacity gap after it, percentage points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveLine:
    """The curve of one student.

    Attributes:
        number: Trial number.
        path: SVG path of the curve.
        style: Style of its family.
        rank: Position among the picks, which decides the colour; 0 for other students.
        label: Label at the end of the curve; empty if the student is not a pick.
        end_x: Horizontal position of the end of the curve, pixels.
        end_y: Vertical position of the end of the curve, pixels.
        label_y: Base line of the label, pixels.
    """

    number: int
    path: str
    style: FamilyStyle
    rank: int
    label: str
    end_x: float
    end_y: float
    label_y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveFigure:
    """Capacity gap after each epoch.

    Attributes:
        key: Name of this size of the figure, which keeps element ids unique.
        width: Width, pixels.
        height: Height, pixels.
        plot: Area inside the axes.
        x_ticks: Position and label of each tick.
        y_ticks: Position and label of each tick.
        level_y: Position of the teacher's accuracy; None if it is out of range.
        lines: Curves of the students, picks last.
        compressed: Whether the gap axis is compressed.
    """

    key: str
    width: float
    height: float
    plot: Box
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    level_y: float | None
    lines: tuple[CurveLine, ...]
    compressed: bool


def curve_figure(content: ReportContent, *, key: str, width: float, height: float) -> CurveFigure | None:
    """Lay out the learning curves of the front; None if no pick has a curve of two epochs or more.

    Args:
        content: Values of the report.
        key: Name of this size of the figure.
        width: Width, pixels.
        height: Height, pixels.
    """
    picked = list(dict.fromkeys(pick.number for pick in content.picks))
    curves = [(row, _curve(row)) for row in rows(content.front.members)]
    curves = [(row, curve) for row, curve in curves if len(curve) >= 2]
    if not any(row["number"] in picked for row, _ in curves):
        return None
    plot = Box(58.0, 34.0, width - _LABEL_ROOM_PX, height - 46.0)
    gaps = [gap for _, curve in curves for _, gap in curve]
    y = quality_axis(gaps, OBJECTIVES["gap_points"], length=plot.bottom - plot.top)
    x = epoch_axis(max(curve[-1][0] for _, curve in curves), length=plot.right - plot.left)
    styles = family_styles(content)
    lines = []
    for row, curve in sorted(curves, key=lambda pair: pair[0]["number"] in picked):
        places = [(plot.across(x.share(epoch)), plot.up(y.share(gap))) for epoch, gap in curve]
        style = styles[row["family"]]
        rank = picked.index(row["number"]) if row["number"] in picked else None
        lines.append(_line(row, curve[-1][1], places, style, rank))
    return CurveFigure(
        key=key, width=width, height=height, plot=plot,
        x_ticks=tuple((plot.across(tick.share), tick.label) for tick in x.ticks),
        y_ticks=tuple((plot.up(tick.share), tick.label) for tick in y.ticks),
        level_y=plot.up(y.share(0.0)) if y.low <= 0.0 <= y.high else None,
        lines=_spread(lines, plot), compressed=y.scale == "compressed",
    )  # fmt: skip


def _curve(row: Row) -> Curve:
    gaps = parse_gaps(row["curve_gap_points"])
    curve = tuple((epoch, gap) for epoch, gap in enumerate(gaps, 1) if gap is not None)
    stride = -(-len(curve) // _MAX_POINTS) or 1
    # Count from the end, so that the last epoch is always kept.
    return curve[::-1][::stride][::-1]


def _line(
    row: Row, gap_points: float, places: Sequence[tuple[float, float]], style: FamilyStyle, rank: int | None
) -> CurveLine:
    end_x, end_y = places[-1]
    return CurveLine(
        number=row["number"],
        path="M" + "L".join(f"{left} {top}" for left, top in places),
        style=style,
        rank=rank or 0,
        label="" if rank is None else f"#{row['number']}  {signed(gap_points)}",
        end_x=end_x,
        end_y=end_y,
        label_y=end_y + 4.0,
    )


def _spread(lines: Sequence[CurveLine], plot: Box) -> tuple[CurveLine, ...]:
    """Move overlapping labels apart, upwards from the lower edge of the plot."""
    labelled = sorted((line for line in lines if line.label), key=lambda line: -line.label_y)
    places: dict[int, float] = {}
    limit = plot.bottom + 4.0
    for line in labelled:
        places[line.number] = min(line.label_y, limit)
        limit = places[line.number] - _LABEL_PX
    return tuple(replace(line, label_y=places.get(line.number, line.label_y)) for line in lines)
