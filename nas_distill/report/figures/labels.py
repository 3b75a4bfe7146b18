"""Placement of labels next to their points, without overlaps and, if possible, not over other points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

CHARACTER_PX = 6.9
"""Estimated width of a character of the 12 px text, on the wide side."""
_LINE_PX = 16.0


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle, pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        """Tell whether the two rectangles overlap."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def holds(self, x: float, y: float, margin: float = 0.0) -> bool:
        """Tell whether a point lies inside, or outside by at most `margin` pixels."""
        return self.left - margin <= x <= self.right + margin and self.top - margin <= y <= self.bottom + margin

    def across(self, share: float) -> float:
        """Return the x at a share of the width, measured from the left."""
        return round(self.left + share * (self.right - self.left), 1)

    def up(self, share: float) -> float:
        """Return the y at a share of the height, measured from the bottom."""
        return round(self.bottom - share * (self.bottom - self.top), 1)

    def within(self, outer: Box) -> bool:
        """Tell whether the whole rectangle lies inside `outer`."""
        return (
            outer.left <= self.left
            and outer.top <= self.top
            and self.right <= outer.right
            and self.bottom <= outer.bottom
        )


@dataclass(frozen=True, slots=True)
class Label:
    """A placed label with a line to its point.

    Attributes:
        text: Text of the label.
        x: Left end of the text, pixels.
        y: Base line of the text, pixels.
        from_x: Horizontal position of the labelled point, pixels.
        from_y: Vertical position of the labelled point, pixels.
        to_x: Horizontal position of the end of the line at the label, pixels.
        to_y: Vertical position of the end of the line at the label, pixels.
    """

    text: str
    x: float
    y: float
    from_x: float
    from_y: float
    to_x: float
    to_y: float


def text_box(text: str, left: float, top: float) -> Box:
    """Return the rectangle of one line of text."""
    return Box(left, top, left + CHARACTER_PX * len(text), top + _LINE_PX)


def place_labels(
    wanted: Sequence[tuple[str, float, float]],
    *,
    plot: Box,
    points: Sequence[tuple[float, float]],
    line: Sequence[tuple[float, float]] = (),
    taken: Sequence[Box] = (),
) -> tuple[Label, ...]:
    """Place labels one after the other, each at the position with the lowest cost.

    Overlaps with another label or with the edge of the plot cost most, then overlaps with points and the line, then the
    distance.

    Args:
        wanted: Text and point of each label.
        plot: Area for the labels.
        points: All points of the figure.
        line: Corners of the line of the front, whose segments are horizontal or vertical.
        taken: Rectangles of other texts.
    """
    boxes = list(taken)
    segments = [
        Box(min(x, next_x) - 1.0, min(y, next_y) - 1.0, max(x, next_x) + 1.0, max(y, next_y) + 1.0)
        for (x, y), (next_x, next_y) in pairwise(line)
    ]
    labels = []
    for text, x, y in wanted:
        spots = _spots(text, x, y)
        costs = [
            1e6 * sum(spot.overlaps(box) for box in boxes)
            + 1e5 * (not spot.within(plot))
            + 30.0 * sum(spot.holds(*point, margin=5.0) for point in points)
            + 30.0 * any(spot.overlaps(segment) for segment in segments)
            + _distance(spot, x, y)
            for spot in spots
        ]
        best = spots[costs.index(min(costs))]
        boxes.append(best)
        to_x, to_y = _nearest(best, x, y)
        labels.append(Label(text, best.left, best.bottom - 4.0, x, y, to_x, to_y))
    return tuple(labels)


def _spots(text: str, x: float, y: float) -> list[Box]:
    size = text_box(text, 0.0, 0.0)
    spots = []
    for distance in (15.0, 24.0, 40.0, 60.0, 84.0, 112.0, 144.0):
        for left in (x + distance, x - size.right / 2.0, x - distance - size.right, x, x - size.right):
            for top in (y - distance - size.bottom, y - size.bottom / 2.0, y + distance):
                spot = text_box(text, left, top)
                if not spot.holds(x, y, margin=11.0):
                    spots.append(spot)
    return spots


def _nearest(box: Box, x: float, y: float) -> tuple[float, float]:
    return min(max(x, box.left), box.right), min(max(y, box.top), box.bottom)


def _distance(box: Box, x: float, y: float) -> float:
    near_x, near_y = _nearest(box, x, y)
    return float(((near_x - x) ** 2 + (near_y - y) ** 2) ** 0.5)
