"""The comparison of families, on made-up students."""

from __future__ import annotations

import pytest

from benchmarks.families.quality import Trained, family_table, volume
from nas_distill.records import Cost

TEACHER = Cost(num_params=10_000, macs=1_000_000, size_bytes=40_000)


def student(family: str, num_params: int, top1: float, *, seed: int = 0) -> Trained:
    cost = Cost(num_params=num_params, macs=100 * num_params, size_bytes=4 * num_params)
    return Trained(family=family, seed=seed, cost=cost, top1=top1)


def test_the_volume_covers_the_smaller_share_of_cost_and_gap() -> None:
    # A tenth of the teacher's parameters is half of the logarithmic axis; 25 points are half of the other one.
    assert volume([student("a", 1000, 0.65)], TEACHER, 0.9, "num_params") == pytest.approx(0.25)
    assert volume([student("a", 100, 0.95)], TEACHER, 0.9, "num_params") == pytest.approx(1.0)
    assert volume([student("a", 1000, 0.3)], TEACHER, 0.9, "num_params") == 0.0


def test_families_are_compared_over_seeds_and_within_budgets() -> None:
    students = [
        student("worse", 5000, 0.7),
        student("worse", 5000, 0.6, seed=1),
        student("better", 5000, 0.8),
        student("better", 500, 0.5),
        student("better", 5000, 0.9, seed=1),
    ]
    first, second = family_table("families", students, TEACHER, 0.9).rows
    assert (first["name"], first["students"], second["name"], second["students"]) == ("better", 3, "worse", 2)
    assert first["gap"] == pytest.approx(5.0)
    assert (first["gap_0.1"], second["gap_0.1"]) == (pytest.approx(40.0), None)
    assert first["gap_0.5"] == pytest.approx(0.0)
