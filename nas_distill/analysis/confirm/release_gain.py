"""Measure what per-class release gained on a student's undistillable classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas_distill.analysis.confirm.arms import (
    Floats,
    arm_metrics,
    class_counts,
    class_gaps,
    shared_repetitions,
    top1_differences,
)
from nas_distill.analysis.confirm.undistillable import LEVEL, ClassEffect, class_effects
from nas_distill.analysis.stats import Estimate, t_interval
from nas_distill.records import TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseGain:
    """The change in accuracy through per-class release, in percentage points; positive if release helped.

    The classes were chosen because the arm "distilled" was low and the arm "control" high in the same trainings that
    they are compared on here. By regression to the mean, `gain_over_distilled_points` is therefore too high and
    `gain_over_control_points` too low. The `cross_fitted_*` gains avoid this selection: each repetition is measured on
    the classes that the other repetitions call undistillable (at the smallest level that those can reach, if that is
    above the test's). They are unbiased for a new repetition. Their intervals are too narrow, because the repetitions
    share the data that chose the classes.

    Attributes:
        classes: Numbers of the undistillable classes.
        released_in: Number of repetitions in which training released each of them.
        gain_over_distilled_points: Accuracy "released" - "distilled" on the images of these classes.
        gain_over_control_points: Accuracy "released" - "control" on the same images.
        cross_fitted_gain_over_distilled_points: Cross-fitted gain over "distilled"; None if no class was chosen for any
            repetition.
        cross_fitted_gain_over_control_points: Cross-fitted gain over "control"; None in the same case.
        top1_gain_over_distilled_points: Accuracy "released" - "distilled" on all classes, without any selection.
        repetitions: Number of repetitions with all three arms.
    """

    classes: tuple[int, ...]
    released_in: tuple[int, ...]
    gain_over_distilled_points: Estimate | None
    gain_over_control_points: Estimate | None
    cross_fitted_gain_over_distilled_points: Estimate | None
    cross_fitted_gain_over_control_points: Estimate | None
    top1_gain_over_distilled_points: Estimate | None
    repetitions: int


def release_gain(
    records: Sequence[TrialRecord], effects: Sequence[ClassEffect], *, level: float = LEVEL
) -> ReleaseGain | None:
    """Return the gain through per-class release; None if no repetition has all three arms.

    Args:
        records: Records of one student.
        effects: Result of `undistillable_classes` for the same records.
        level: Level of its test.
    """
    distilled, control, released = (arm_metrics(records, arm) for arm in ("distilled", "control", "released"))
    shared = shared_repetitions(distilled, control, released)
    if not shared:
        return None
    counts = class_counts(distilled, shared)
    distilled_gaps, control_gaps, released_gaps = (class_gaps(arm, shared) for arm in (distilled, control, released))
    called = np.array([effect.label for effect in effects if effect.outcome == "undistillable"], dtype=np.int64)
    chosen = np.zeros(counts.shape, dtype=np.bool_)
    chosen[:, called] = True
    cross_fitted = _chosen_by_others(distilled_gaps - control_gaps, counts, level)
    over_distilled, over_control = distilled_gaps - released_gaps, control_gaps - released_gaps
    times = [record.execution.released_classes for record in records if _is_released(record)]
    return ReleaseGain(
        classes=tuple(called.tolist()),
        released_in=tuple(sum(label in classes for classes in times) for label in called.tolist()),
        gain_over_distilled_points=_mean_on(over_distilled, counts, chosen),
        gain_over_control_points=_mean_on(over_control, counts, chosen),
        cross_fitted_gain_over_distilled_points=_mean_on(over_distilled, counts, cross_fitted),
        cross_fitted_gain_over_control_points=_mean_on(over_control, counts, cross_fitted),
        top1_gain_over_distilled_points=t_interval(top1_differences(released, distilled)),
        repetitions=len(shared),
    )


def _is_released(record: TrialRecord) -> bool:
    return record.confirmation is not None and record.confirmation.arm == "released" and record.metrics is not None


def _chosen_by_others(differences: Floats, counts: NDArray[np.int64], level: float) -> NDArray[np.bool_]:
    """Mark for each repetition the classes that the other repetitions call undistillable [R, C]."""
    chosen = np.zeros(counts.shape, dtype=np.bool_)
    repetitions = len(counts)
    if repetitions < 3:
        return chosen
    reachable = max(level, 2.0 ** (1 - repetitions))
    for left_out in range(repetitions):
        others = np.arange(repetitions) != left_out
        effects = class_effects(differences[others], counts[others], level=reachable)
        chosen[left_out] = [effect.outcome == "undistillable" for effect in effects]
    return chosen


def _mean_on(differences: Floats, counts: NDArray[np.int64], chosen: NDArray[np.bool_]) -> Estimate | None:
    """Return the mean over repetitions of the difference on the images of the chosen classes."""
    weights = np.where(chosen, counts, 0)
    some = weights.sum(axis=1) > 0
    sums = (np.nan_to_num(differences) * weights).sum(axis=1)
    return t_interval((sums[some] / weights.sum(axis=1)[some]).tolist())
