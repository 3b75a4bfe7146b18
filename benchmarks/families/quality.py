"""Quality of families: the volume that the students of a family dominate, and the smallest gap within budgets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.common.program import Column, Table, mean_interval
from nas_distill.analysis.front.arithmetic import hypervolume
from nas_distill.records import Cost

_WORST_GAP = 50.0
"""Gap of the reference point of hypervolumes, points."""

_SMALLEST_SHARE = 0.01
"""Share of the teacher's cost at which the hypervolume's axes of costs begin, on a logarithmic scale."""

_BUDGETS = (0.1, 0.5)
"""Shares of the teacher's multiply-accumulates within which the smallest gap is shown."""

COLUMNS = (
    Column("name", "family"),
    Column("volume", "hypervolume by parameters", "{:.3f}", "volume_interval"),
    Column("macs_volume", "hypervolume by MACs", "{:.3f}", "macs_volume_interval"),
    Column("gap", "smallest gap, points", "{:.2f}", "gap_interval"),
    *(Column(f"gap_{share}", f"within {share:.0%} of the MACs", "{:.2f}") for share in _BUDGETS),
    Column("students", "students", "{:d}"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A trained student.

    Attributes:
        family: Name of its family.
        seed: Seed of the draw.
        cost: Its cost.
        top1: Its accuracy on validation, 0 to 1.
    """

    family: str
    seed: int
    cost: Cost
    top1: float


def family_table(title: str, trained: Sequence[Trained], teacher: Cost, teacher_top1: float) -> Table:
    """Return one row for each family, means over seeds, the largest hypervolume by parameters first."""
    rows = []
    for name in dict.fromkeys(student.family for student in trained):
        own = [student for student in trained if student.family == name]
        draws = [[s for s in own if s.seed == seed] for seed in sorted({student.seed for student in own})]
        row: dict[str, Any] = {"name": name, "students": len(own)}
        row |= _estimate("volume", [volume(draw, teacher, teacher_top1, "num_params") for draw in draws])
        row |= _estimate("macs_volume", [volume(draw, teacher, teacher_top1, "macs") for draw in draws])
        row |= _estimate("gap", [min(_gap(student, teacher_top1) for student in draw) for draw in draws])
        for share in _BUDGETS:
            gaps = [_gap(student, teacher_top1) for student in own if student.cost.macs <= share * teacher.macs]
            row[f"gap_{share}"] = min(gaps, default=None)
        rows.append(row)
    rows.sort(key=lambda row: -row["volume"])
    return Table(title=title, columns=COLUMNS, rows=tuple(rows))


def volume(students: Sequence[Trained], teacher: Cost, teacher_top1: float, cost: str) -> float:
    """Return the volume that students dominate, as a share of the largest possible.

    The axes are the logarithm of the cost, from 1 % of the teacher's to all of it, and the gap, from 0 to 50 points.

    Args:
        students: Students of one family.
        teacher: Cost of the teacher.
        teacher_top1: Accuracy of the teacher, 0 to 1.
        cost: Name of the cost, a field of `Cost`.
    """
    points = [
        (
            max(1 - math.log(getattr(student.cost, cost) / getattr(teacher, cost)) / math.log(_SMALLEST_SHARE), 0.0),
            max(_gap(student, teacher_top1), 0.0) / _WORST_GAP,
        )
        for student in students
    ]
    return hypervolume(np.asarray(points, dtype=np.float64).reshape(-1, 2), (1.0, 1.0))


def _gap(student: Trained, teacher_top1: float) -> float:
    return 100 * (teacher_top1 - student.top1)


def _estimate(key: str, values: Sequence[float]) -> dict[str, float | None]:
    mean, half_width = mean_interval(values)
    return {key: mean, f"{key}_interval": half_width if math.isfinite(half_width) else None}
