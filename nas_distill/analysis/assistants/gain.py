"""Measure what teaching by an assistant gained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from nas_distill.analysis.stats import Estimate, proportion_difference, t_interval
from nas_distill.records import TrialStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class AssistedStudent:
    """One student that was distilled twice: from the teacher, and from an assistant.

    Attributes:
        assistant: Trial number of the assistant.
        direct: Trial number of the training by the teacher.
        number: Trial number of the training by the assistant.
        direct_gap_points: Gap to the teacher after the first training, percentage points.
        gap_points: Gap to the same teacher after the second; None if that training failed.
        gain: First gap minus second, percentage points, with its 95 % interval due to the sample of validation images.
            Above 0 if the assistant helped. None if the second training failed.
    """

    assistant: int
    direct: int
    number: int
    direct_gap_points: float
    gap_points: float | None
    gain: Estimate | None


def assisted_students(trials: pd.DataFrame, *, images: int) -> tuple[AssistedStudent, ...]:
    """Return every student that an assistant taught, by trial number.

    The interval of a gain is that of a difference of two independent proportions (`stats.proportion_difference`). Both
    accuracies are measured on the same images, but the answers per image are not kept. Two trainings of one candidate
    answer alike, so the interval is too wide rather than too narrow. The randomness of training, with one run each, is
    not in it.

    Args:
        trials: Table of trials; see `StudySnapshot.trials`.
        images: Number of validation images.
    """
    direct = {_identity(row): row for row in trials.to_dict("records") if pd.isna(row["assistant"])}
    found = []
    for row in trials.to_dict("records"):
        first = None if pd.isna(row["assistant"]) else direct.get(_identity(row))
        if first is None:
            continue
        complete = row["status"] == TrialStatus.COMPLETE
        found.append(
            AssistedStudent(
                assistant=int(row["assistant"]),
                direct=int(first["number"]),
                number=int(row["number"]),
                direct_gap_points=float(first["gap_points"]),
                gap_points=float(row["gap_points"]) if complete else None,
                gain=_gain(first, row, images) if complete else None,
            )
        )
    return tuple(found)


def mean_gain(students: tuple[AssistedStudent, ...]) -> Estimate | None:
    """Return the mean gain with its 95 % t interval over the students, percentage points; None without any gain."""
    return t_interval([one.gain.mean for one in students if one.gain is not None])


def _identity(row: Mapping[Any, Any]) -> tuple[str, str, int]:
    """Return what the two trainings of a student have in common; the second repeats the seed of the first."""
    return str(row["spec_id"]), str(row["recipe"]), -1 if pd.isna(row["seed"]) else int(row["seed"])


def _gain(first: Mapping[Any, Any], second: Mapping[Any, Any], images: int) -> Estimate:
    found = proportion_difference(float(second["top1"]), float(first["top1"]), images)
    assert found.half_width is not None
    return Estimate(mean=float(first["gap_points"]) - float(second["gap_points"]), half_width=100.0 * found.half_width)
