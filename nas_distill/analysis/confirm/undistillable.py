"""Classes on which a student does worse with its teacher than without: effects, intervals, a corrected paired test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nas_distill.analysis.confirm.arms import Floats, arm_metrics, class_counts, class_gaps, shared_repetitions
from nas_distill.analysis.permutation_test import least_repetitions, step_down_p_values
from nas_distill.analysis.stats import CONFIDENCE, Estimate, estimate
from nas_distill.errors import ConfigError
from nas_distill.records import TrialRecord

LEVEL = 0.05

Verdict = Literal["undistillable", "helped", "not told apart", "untested"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassEffect:
    """What the teacher did to one class of one student.

    Attributes:
        label: Number of the class, in the order of the data's classes.
        images: That were scored: per repetition where all are scored on the same, of all folds where there are folds.
        repetitions: In which both arms ended and the class had images.
        difference_points: Accuracy alone - accuracy taught, percentage points, with its 95 % interval (see
            `class_effects`), not corrected for the number of classes; positive where the teacher hurts. None without
            repetitions.
        p_hurt: That taught is below alone, corrected for the number of classes; None where untested.
        p_helped: That it is above.
        verdict: "undistillable" or "helped" where the p value is at most the level; "not told apart" where neither
            is; "untested" with too few repetitions for any result to be significant, or without images.
    """

    label: int
    images: int
    repetitions: int
    difference_points: Estimate | None
    p_hurt: float | None
    p_helped: float | None
    verdict: Verdict


def undistillable_classes(records: Sequence[TrialRecord], *, level: float = LEVEL) -> tuple[ClassEffect, ...]:
    """Returns what the teacher did to each class of a student, from the arms "taught" and "alone" of its confirm.

    The claim is about training seeds on the images that were scored (docs/undistillable.md). Without one repetition
    in which both arms ended there is nothing to compare: no rows.

    Args:
        records: Of one student; other arms, failed trainings and repetitions with one arm alone are left out.
        level: Chance of calling one class or more undistillable where the teacher hurts none, in (0, 1).

    Raises:
        ConfigError: `level` is not within (0, 1).
        ValueError: The records are of several students.
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
    """Returns what the teacher did to each class, from accuracies alone - taught.

    The interval is mean +- t(0.975; R - 1) s / sqrt(R), but at least 1 - 0.025^(1/R) images wide to either side: a
    class's accuracy moves by whole images, R trainings may agree by chance, and one that would be an image off with
    probability p is unseen in R of them with probability (1 - p)^R. The test is `step_down_p_values`, to either side.

    Args:
        differences: Percentage points [R, C], R at least 1; NaN where a class had no images.
        counts: Images scored [R, C].
        level: Of the test to either side, in (0, 1).
        images: To note per class [C]; by default the most of any repetition.

    Raises:
        ConfigError: `level` is not within (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise ConfigError(f"level: {level} is not a chance of a false alarm; give one between 0 and 1, such as {LEVEL}")
    differences = np.where(counts > 0, differences.round(9), np.nan)
    scored = (counts > 0).sum(axis=0)
    # The finest step of a mean over repetitions that were scored on different numbers of images.
    resolution = 100.0 * np.divide(scored, counts.sum(axis=0), out=np.ones(len(scored)), where=scored > 0)
    hurt, helped = (step_down_p_values(sign * differences, resolution) for sign in (1.0, -1.0))
    noted = counts.max(axis=0) if images is None else images
    effects = []
    for label, repetitions in enumerate(scored):
        own = differences[~np.isnan(differences[:, label]), label]
        testable = repetitions >= least_repetitions(level)
        effects.append(
            ClassEffect(
                label=label,
                images=int(noted[label]),
                repetitions=int(repetitions),
                difference_points=floored(estimate(own.tolist()), float(resolution[label]), len(own)),
                p_hurt=float(hurt[label]) if testable else None,
                p_helped=float(helped[label]) if testable else None,
                verdict=_verdict(float(hurt[label]), float(helped[label]), level) if testable else "untested",
            )
        )
    return tuple(effects)


def floored(found: Estimate | None, resolution: float, repetitions: int) -> Estimate | None:
    """Returns the estimate with a half-width of at least 1 - 0.025^(1/R) steps of `resolution` (see `class_effects`).

    Args:
        found: A mean over repetitions.
        resolution: The least step between two values, in their unit.
        repetitions: R.
    """
    if found is None or found.half_width is None:
        return found
    least = resolution * (1.0 - ((1.0 - CONFIDENCE) / 2.0) ** (1.0 / repetitions))
    return Estimate(mean=found.mean, half_width=max(found.half_width, least))


def _verdict(hurt: float, helped: float, level: float) -> Verdict:
    if hurt <= level:
        return "undistillable"
    return "helped" if helped <= level else "not told apart"
