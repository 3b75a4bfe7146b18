"""The initial points of a study that are still to be tried."""

from __future__ import annotations

from nas_distill.search.study.point_queue import PointQueue

POINTS = [{"width": 8}, {"width": 16}, {"width": 32}]


def test_untried_points_are_returned_in_order() -> None:
    queue = PointQueue(POINTS, {1})
    assert [queue.next(), queue.next()] == [(0, {"width": 8}), (2, {"width": 32})]
    assert not queue


def test_a_returned_point_is_next_and_queued_once() -> None:
    queue = PointQueue(POINTS, ())
    index, point = queue.next()
    queue.return_point(index)
    queue.return_point(index)
    assert queue.next() == (0, point)
    assert queue.next() == (1, {"width": 16})
