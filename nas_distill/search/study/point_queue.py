"""The initial points of a study that are still to be tried, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any

Point = Mapping[str, Any]
"""Values by name of the parameter."""


class PointQueue:
    """Initial points with their positions in the study's list.

    Args:
        points: All initial points of the study, in order.
        tried: Positions of the points whose candidates were assigned or rejected.
    """

    def __init__(self, points: Sequence[Point], tried: Collection[int]) -> None:
        self._points = tuple(points)
        self._queue = deque(index for index in range(len(points)) if index not in tried)

    def __bool__(self) -> bool:
        return bool(self._queue)

    def next(self) -> tuple[int, Point]:
        """Remove the next point, and return its position and values."""
        index = self._queue.popleft()
        return index, self._points[index]

    def return_point(self, index: int) -> None:
        """Put a point back at the front, unless it is in the queue already."""
        if index not in self._queue:
            self._queue.appendleft(index)
