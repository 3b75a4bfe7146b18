"""What teaching by an assistant gained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import pandas as pd

from nas_distill.analysis.formatting import STANDARD_ERRORS
from nas_distill.analysis.stats import Estimate, estimate
from nas_distill.records import TrialStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class AssistedStudent:
    """One student that was distilled twice: from the teacher, and from an assistant.

    Attributes:
        assistant: Number of the trial whose student taught it.
        direct: Number of the trial in which the teacher taught it.
        number: Number of the trial in which the assistant did.
        direct_gap_points: Gap to the teacher after the first.
        gap_points: Gap to the same teacher after the second; None when it did not end well.
        gain: First minus second, percentage points, above 0 where the assistant helped, with half of its 95 % interval
            by the validation sample; None without a second gap.
    """

    assistant: int
    direct: int
    number: int
    direct_gap_points: float
    gap_points: float | None
    gain: Estimate | None


def assisted_students(trials: pd.DataFrame, *, images: int) -> tuple[AssistedStudent, ...]:
    """Returns every student that an assistant taught, by trial number.

    The interval of a gain is 1.96 sqrt(p (1 - p) / n + q (1 - q) / n) with the two accuracies p and q on n images. It
    takes the two as independent samples, though they are measured on the same images: per-image answers are not kept.
    Answers of one candidate trained twice are alike, so that this interval is rather too wide. Of the chance in
    training itself, one run each, it knows nothing.

    Args:
        trials: Table as `frame.load_frame` returns it.
        images: Validation images.
    """
    direct = {_identity(row): row for row in trials.to_dict("records") if pd.isna(row["assistant"])}
    found = []
    for row in trials.to_dict("records"):
        first = None if pd.isna(row["assistant"]) else direct.get(_identity(row))
        if first is None:
            continue
        ended = row["status"] == TrialStatus.COMPLETE
        found.append(
            AssistedStudent(
                assistant=int(row["assistant"]),
                direct=int(first["number"]),
                number=int(row["number"]),
                direct_gap_points=float(first["gap_points"]),
                gap_points=float(row["gap_points"]) if ended else None,
                gain=_gain(first, row, images) if ended else None,
            )
        )
    return tuple(found)


def mean_gain(students: tuple[AssistedStudent, ...]) -> Estimate | None:
    """Returns the mean gain, percentage points, with half its 95 % t interval over the students; None without any."""
    return estimate([one.gain.mean for one in students if one.gain is not None])


def _identity(row: Mapping[Any, Any]) -> tuple[str, str, int]:
    """Returns what the two trainings of a student share: a seed is derived from the number of the first."""
    return str(row["spec_id"]), str(row["recipe"]), -1 if pd.isna(row["seed"]) else int(row["seed"])


def _gain(first: Mapping[Any, Any], second: Mapping[Any, Any], images: int) -> Estimate:
    variance = sum(top1 * (1.0 - top1) / images for top1 in (float(first["top1"]), float(second["top1"])))
    return Estimate(
        mean=float(first["gap_points"]) - float(second["gap_points"]),
        half_width=100.0 * STANDARD_ERRORS * sqrt(variance),
    )
