"""What per-class release gained on a student's undistillable classes."""

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
from nas_distill.analysis.stats import Estimate, estimate
from nas_distill.records import TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseGain:
    """What training with per-class release changed, percentage points of accuracy; positive where release helped.

    The classes were chosen because "taught" was low and "alone" high on the very trainings that they are compared on
    here, so by regression to the mean `over_taught_points` flatters release and `over_alone_points` belittles it.
    `fresh_*` choose without the repetition that they are measured on: for each repetition, the classes that the others
    call undistillable (at the least level that they can reach, where that is above the test's). They are
    honest about a repetition not yet seen, but each is about the classes that were chosen for it, and repetitions share
    what chose them, so intervals are rather too narrow.

    Attributes:
        classes: The undistillable ones.
        released_in: In how many repetitions training released each of them.
        over_taught_points: Released - taught on these classes, all their images together.
        over_alone_points: Released - alone.
        fresh_over_taught_points: Cross-fitted; None where no repetition's others call a class.
        fresh_over_alone_points: Likewise.
        top1_over_taught_points: Released - taught on all classes; nothing was chosen there.
        repetitions: That have all three arms.
    """

    classes: tuple[int, ...]
    released_in: tuple[int, ...]
    over_taught_points: Estimate | None
    over_alone_points: Estimate | None
    fresh_over_taught_points: Estimate | None
    fresh_over_alone_points: Estimate | None
    top1_over_taught_points: Estimate | None
    repetitions: int


def release_gain(
    records: Sequence[TrialRecord], effects: Sequence[ClassEffect], *, level: float = LEVEL
) -> ReleaseGain | None:
    """Returns what per-class release gained; None when no repetition has all three arms.

    Args:
        records: Of one student.
        effects: As `undistillable_classes` returns them.
        level: Of their test.
    """
    distilled, control, released = (arm_metrics(records, arm) for arm in ("distilled", "control", "released"))
    shared = shared_repetitions(distilled, control, released)
    if not shared:
        return None
    counts = class_counts(distilled, shared)
    with_teacher, without, with_release = (class_gaps(arm, shared) for arm in (distilled, control, released))
    called = np.array([effect.label for effect in effects if effect.verdict == "undistillable"], dtype=np.int64)
    chosen = np.zeros(counts.shape, dtype=np.bool_)
    chosen[:, called] = True
    fresh = _chosen_without(with_teacher - without, counts, level)
    over_taught, over_alone = with_teacher - with_release, without - with_release
    times = [record.execution.released_classes for record in records if _is_released(record)]
    return ReleaseGain(
        classes=tuple(called.tolist()),
        released_in=tuple(sum(label in classes for classes in times) for label in called.tolist()),
        over_taught_points=_over(over_taught, counts, chosen),
        over_alone_points=_over(over_alone, counts, chosen),
        fresh_over_taught_points=_over(over_taught, counts, fresh),
        fresh_over_alone_points=_over(over_alone, counts, fresh),
        top1_over_taught_points=estimate(top1_differences(released, distilled)),
        repetitions=len(shared),
    )


def _is_released(record: TrialRecord) -> bool:
    return record.confirmation is not None and record.confirmation.arm == "released" and record.metrics is not None


def _chosen_without(differences: Floats, counts: NDArray[np.int64], level: float) -> NDArray[np.bool_]:
    """Returns for each repetition the classes that the other ones call undistillable, [R, C]."""
    chosen = np.zeros(counts.shape, dtype=np.bool_)
    repetitions = len(counts)
    if repetitions < 3:
        return chosen
    reachable = max(level, 2.0 ** (1 - repetitions))
    for left_out in range(repetitions):
        others = np.arange(repetitions) != left_out
        effects = class_effects(differences[others], counts[others], level=reachable)
        chosen[left_out] = [effect.verdict == "undistillable" for effect in effects]
    return chosen


def _over(differences: Floats, counts: NDArray[np.int64], chosen: NDArray[np.bool_]) -> Estimate | None:
    """Returns the mean over repetitions of the difference on the chosen classes' images."""
    weights = np.where(chosen, counts, 0)
    some = weights.sum(axis=1) > 0
    sums = (np.nan_to_num(differences) * weights).sum(axis=1)
    return estimate((sums[some] / weights.sum(axis=1)[some]).tolist())
