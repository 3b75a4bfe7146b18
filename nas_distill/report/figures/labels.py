"""Places labels beside their points: never over each other, and not over points where it can be helped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

CHARACTER_PX = 6.9
"""Width of an average character of the figures' 12 px text, on the generous side."""
_LINE_PX = 16.0


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle, pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        """Tells whether the two share some area."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def holds(self, x: float, y: float, margin: float = 0.0) -> bool:
        """Tells whether a point lies inside, or nearer than `margin`."""
        return self.left - margin <= x <= self.right + margin and self.top - margin <= y <= self.bottom + margin

    def across(self, share: float) -> float:
        """Returns the x at a share of the width from the left."""
        return round(self.left + share * (self.right - self.left), 1)

    def up(self, share: float) -> float:
        """Returns the y at a share of the height from the bottom."""
        return round(self.bottom - share * (self.bottom - self.top), 1)

    def within(self, outer: Box) -> bool:
        """Tells whether all of it lies inside `outer`."""
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
        text: What it says.
        x: Left end of its text.
        y: Base line of its text.
        from_x: The point it names.
        from_y: The point it names.
        to_x: Where the line to the point meets the label.
        to_y: Where the line to the point meets the label.
    """

    text: str
    x: float
    y: float
    from_x: float
    from_y: float
    to_x: float
    to_y: float


def text_box(text: str, left: float, top: float) -> Box:
    """Returns the room that one line of text takes."""
    return Box(left, top, left + CHARACTER_PX * len(text), top + _LINE_PX)


def place_labels(
    wanted: Sequence[tuple[str, float, float]],
    *,
    plot: Box,
    points: Sequence[tuple[float, float]],
    line: Sequence[tuple[float, float]] = (),
    taken: Sequence[Box] = (),
) -> tuple[Label, ...]:
    """Places labels one after the other, each at its cheapest free spot.

    A spot costs what it covers: another label or the plot's edge first, then points and line, then distance.

    Args:
        wanted: Text and point of each label.
        plot: Where labels may lie.
        points: All drawn points.
        line: Corners of the drawn line, whose segments are level or upright.
        taken: Room that other texts have.
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
