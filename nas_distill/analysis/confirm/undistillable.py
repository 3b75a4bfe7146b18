"""Find the classes on which a student is worse with its teacher than without, by a corrected paired test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nas_distill.analysis.confirm.arms import Floats, arm_metrics, class_counts, class_gaps, shared_repetitions
from nas_distill.analysis.permutation_test import least_repetitions, step_down_p_values
from nas_distill.analysis.stats import Estimate, t_interval, with_minimum_width
from nas_distill.errors import ConfigError
from nas_distill.records import TrialRecord

LEVEL = 0.05

Outcome = Literal["undistillable", "helped", "not distinguishable", "untested"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassEffect:
    """The effect of the teacher on one class of one student.

    Attributes:
        label: Number of the class, in the order of the data's classes.
        images: Number of scored images: per repetition if all repetitions share the images, else of all folds.
        repetitions: Number of repetitions in which both arms finished and the class had images.
        difference_points: Accuracy "control" - "distilled", percentage points, with its 95 % interval (see
            `class_effects`), not corrected for the number of classes. Positive if the teacher hurts. None without
            repetitions.
        p_hurt: p value against "the teacher does not hurt", corrected for the number of classes; None if untested.
        p_helped: p value against "the teacher does not help", corrected in the same way; None if untested.
        outcome: "undistillable" or "helped" if that p value is at most the level; "not distinguishable" if neither is;
            "untested" with too few repetitions for any result to be significant, or without images.
    """

    label: int
    images: int
    repetitions: int
    difference_points: Estimate | None
    p_hurt: float | None
    p_helped: float | None
    outcome: Outcome


def undistillable_classes(records: Sequence[TrialRecord], *, level: float = LEVEL) -> tuple[ClassEffect, ...]:
    """Return the effect of the teacher on each class of a student, from its arms "distilled" and "control".

    The claim is about training seeds, on the images that were scored (docs/explanation/statistics.md).

    Args:
        records: Records of one student. Other arms, failed trainings and repetitions with only one arm are ignored.
        level: Probability of calling any class undistillable if the teacher hurts none, in (0, 1).

    Returns:
        One effect per class; empty if no repetition has both arms.

    Raises:
        ConfigError: `level` is not in (0, 1).
        ValueError: The records belong to several students.
    """
    distilled, control = arm_metrics(records, "distilled"), arm_metrics(records, "control")
    shared = shared_repetitions(distilled, control)
    if not shared:
        return ()
    counts = class_counts(distilled, shared)
    in_folds = any(record.fold is not None for record in records)
    return class_effects(
        class_gaps(distilled, shared) - class_gaps(control, shared), counts, level=level,
        images=counts.sum(axis=0) if in_folds else None,
    )  # fmt: skip


def class_effects(
    differences: Floats, counts: NDArray[np.int64], *, level: float = LEVEL,
    images: NDArray[np.int64] | None = None,
) -> tuple[ClassEffect, ...]:  # fmt: skip
    """Return the effect of the teacher on each class, from differences of accuracy, "control" - "distilled".

    The interval is a t interval with a minimum width (`stats.with_minimum_width`). The test is `step_down_p_values`,
    once for each direction.

    Args:
        differences: Differences in percentage points [R, C], R at least 1; NaN where a class had no images.
        counts: Number of scored images [R, C].
        level: Level of the test in each direction, in (0, 1).
        images: Number of images to report per class [C]. Default: the largest of any repetition.

    Raises:
        ConfigError: `level` is not in (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise ConfigError(
            f"{level} is not a probability between 0 and 1, both excluded; pass {LEVEL}, for example",
            code="analysis.level_out_of_range",
            field="level",
        )
    differences = np.where(counts > 0, differences.round(9), np.nan)
    scored = (counts > 0).sum(axis=0)
    # The smallest step of a mean over repetitions with different numbers of images.
    resolution = 100.0 * np.divide(scored, counts.sum(axis=0), out=np.ones(len(scored)), where=scored > 0)
    hurt, helped = (step_down_p_values(sign * differences, resolution) for sign in (1.0, -1.0))
    reported = counts.max(axis=0) if images is None else images
    effects = []
    for label, repetitions in enumerate(scored):
        own = differences[~np.isnan(differences[:, label]), label]
        testable = repetitions >= least_repetitions(level)
        effects.append(
            ClassEffect(
                label=label,
                images=int(reported[label]),
                repetitions=int(repetitions),
                difference_points=with_minimum_width(t_interval(own.tolist()), float(resolution[label]), len(own)),
                p_hurt=float(hurt[label]) if testable else None,
                p_helped=float(helped[label]) if testable else None,
                outcome=_outcome(float(hurt[label]), float(helped[label]), level) if testable else "untested",
            )
        )
    return tuple(effects)


def _outcome(hurt: float, helped: float, level: float) -> Outcome:
    if hurt <= level:
        return "undistillable"
    return "helped" if helped <= level else "not distinguishable"
