"""The gap to trust for each student: confirmed over seeds where that is known, else the search's own score."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nas_distill.analysis.confirm.students import ConfirmedStudent
from nas_distill.analysis.decision.records import Standing
from nas_distill.analysis.stats import gap_half_width_points
from nas_distill.records import TrialStatus

_MIN_SEEDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The gap of a student and how well it is known.

    Attributes:
        points: Gap, percentage points.
        half_width_points: Half of its 95 % interval, percentage points.
        top1: Accuracy, 0 to 1.
        seeds: Number of seeds: 1 for the search's own score.
        basis: What the interval covers: "on 288 images", "over 5 seeds on the test images".
    """

    points: float
    half_width_points: float
    top1: float
    seeds: int
    basis: str

    @property
    def is_confirmed(self) -> bool:
        """Whether several seeds were trained for it."""
        return self.seeds >= _MIN_SEEDS

    def standing(self, tolerance_points: float) -> Standing:
        """Return where the interval lies relative to a tolerance."""
        if self.points + self.half_width_points <= tolerance_points:
            return "established"
        return "missed" if self.points - self.half_width_points > tolerance_points else "undecided"

    def text(self, teacher: str = "it") -> str:
        """Return the gap in words, such as "0.7 ± 1.5 points below it on 288 images".

        Args:
            teacher: How to call the teacher.
        """
        gap, half = round(self.points, 1), f"\N{PLUS-MINUS SIGN} {self.half_width_points:.1f} points"
        if gap == 0.0:
            return f"level with {teacher} ({half} {self.basis})"
        return f"{abs(gap):.1f} {half} {'below' if gap > 0 else 'above'} {teacher} {self.basis}"


def searched_gaps(trials: pd.DataFrame, images: int) -> dict[int, Gap]:
    """Return the search's own gap of each fully trained student, by trial number.

    Args:
        trials: Table of trials; see `StudySnapshot.trials`.
        images: Number of validation images.
    """
    known = trials[(trials["status"] == TrialStatus.COMPLETE) & trials["gap_points"].notna()]
    gaps, agreement, top1 = (
        known[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in ("gap_points", "agreement", "top1")
    )
    half = gap_half_width_points(gaps, agreement, images)
    return {
        int(number): Gap(
            points=float(gaps[row]), half_width_points=float(half[row]), top1=float(top1[row]), seeds=1,
            basis=f"on {images:,} images",
        )
        for row, number in enumerate(known["number"])
    }  # fmt: skip


def confirmed_gaps(students: Iterable[ConfirmedStudent]) -> dict[int, Gap]:
    """Return the confirmed gap of each student with at least two seeds, by trial number.

    A student that was scored on test images and on folds counts by its test images.
    """
    found: dict[int, Gap] = {}
    for one in sorted(students, key=lambda one: not one.in_folds):
        gap, top1 = one.gap_points, one.top1
        if one.repetitions < _MIN_SEEDS or gap is None or top1 is None or gap.half_width is None:
            continue
        where = f"over {one.repetitions} folds" if one.in_folds else f"over {one.repetitions} seeds on the test images"
        found[one.number] = Gap(
            points=gap.mean, half_width_points=gap.half_width, top1=top1.mean, seeds=one.repetitions, basis=where
        )
    return found
