"""The rules of the decision table. Each looks at one student among all, and returns what it found or None."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nas_distill.analysis.diagnosis.curves import late_gain
from nas_distill.analysis.diagnosis.fit import (
    Evidence,
    NotTestedError,
    disagreement,
    gap_text,
    is_far_behind,
    unfit,
    why_too_brief,
)
from nas_distill.analysis.diagnosis.recipe_differences import distinguishing_labels, other_differences, recipes_differ
from nas_distill.analysis.diagnosis.students import Students
from nas_distill.analysis.diagnosis.verdicts import Verdict
from nas_distill.analysis.formatting import percent, short_count, signed
from nas_distill.analysis.stats import ACCEPTED_ECE, largest_calibrated_ece
from nas_distill.config import DiagnosisConfig


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found.

    Attributes:
        evidence: Sentences with measured values and thresholds.
        rival: Index of the student that the evidence compares with; None if it compares with none.
    """

    evidence: Evidence
    rival: int | None = None


Rule = Callable[[Students, int, DiagnosisConfig], Finding | None]

_LEAST_IMAGES = 4
"""Images that two epochs must differ on: fewer, all of them better, happen by chance (McNemar, 5 %)."""


def loss_mismatch(students: Students, index: int, settings: DiagnosisConfig) -> Finding | None:
    """Fire if the same architecture is clearly better under another recipe with no more epochs."""
    del settings
    epochs = students.values["planned_epochs"]
    spec, teacher = str(students.texts["spec_id"][index]), students.groups[index][1]
    others = [one for one in students.specs[spec, teacher] if recipes_differ(students, index, one)]
    if not others:
        raise NotTestedError("its architecture was not trained under another loss or recipe")
    others = [one for one in others if not epochs[one] > epochs[index]]
    if not others:
        raise NotTestedError("its architecture was not trained under another loss or recipe in no more epochs")
    rival = students.clearly_better(others, index)
    if rival is None:
        return None
    gaps = students.values["gap_points"]
    own, better = distinguishing_labels(students, index, rival)
    comparison = (
        f"the same architecture has a gap of {signed(gaps[rival])} points under {better} in {students.named(rival)}, "
        f"and {signed(gaps[index])} under {own}"
    )
    evidence: Evidence = (comparison, _resolved(students, index, rival))
    fields = other_differences(students, index, rival)
    if fields:
        evidence = (*evidence, f"their recipes also differ in {fields}, so the loss alone may not be the cause")
    return Finding(evidence, rival)


def architecture_mismatch(students: Students, index: int, settings: DiagnosisConfig) -> Finding | None:
    """Fire if another family is clearly better at this size, its own is not, and its features match the teacher's less.

    Where the similarity of features was not measured, the gaps alone decide. It does not fire on a student that was
    trained too briefly: families differ in how fast they learn.
    """
    if why_too_brief(students, index, settings) is not None:
        return None
    sizes, gaps, cka = (students.values[name] for name in ("num_params", "gap_points", "feature_cka"))
    group, limit = students.groups[index], settings.similar_size * sizes[index]
    others = [
        best.up_to(limit)
        for (family, teacher), best in students.best_by_size.items()
        if teacher == group[1] and family != group[0]
    ]
    if all(one is None for one in others):
        raise NotTestedError("no student of another family has its size")
    rival = students.clearly_better(others, index)
    if rival is None:
        return None
    sibling = students.best_by_size[group].up_to(limit)
    if sibling is not None and gaps[sibling] - gaps[rival] <= students.resolvable_difference_points(sibling, rival):
        return None  # a student of its own family is as good, so the family is not the cause
    closer = cka[rival] - cka[index]
    if closer < settings.feature_cka_margin:
        return None  # its features match the teacher's as well as the rival's, so the family is not the cause
    features = "the similarity of features was not measured, so only the gaps were compared"
    if not np.isnan(closer):
        features = f"its features match the teacher's less: CKA {cka[index]:.2f} against {cka[rival]:.2f}"
    comparison = (
        f"its gap is {signed(gaps[index])} points with {short_count(sizes[index])} parameters; "
        f"{students.named(rival)} has {signed(gaps[rival])}"
    )
    alone = f"no other {group[0]} of about this size is as good as that student"
    return Finding((comparison, _resolved(students, index, rival), alone, features), rival)


def undertrained(students: Students, index: int, settings: DiagnosisConfig) -> Finding | None:
    """Fire if a longer training is clearly better, or if the gap still fell much in the second half of the epochs.

    A longer training is one of the same architecture, or of a student of its family that is no larger.
    """
    rivals = (*students.longer_trainings(index), *students.smaller_and_longer(index))
    longer = students.clearly_better(rivals, index)
    if longer is not None:
        gaps, epochs = students.values["gap_points"], students.values["planned_epochs"]
        comparison = (
            f"{students.named(longer)} has a gap of {signed(gaps[longer])} points after {epochs[longer]:.0f} epochs, "
            f"this student {signed(gaps[index])} after {epochs[index]:.0f}"
        )
        return Finding((comparison, _resolved(students, index, longer)), longer)
    if students.was_trained_longer(index):
        return None  # twice the epochs gained nothing
    curve = students.gap_curves.get(int(students.numbers[index]))
    gain = None if curve is None else late_gain(curve)
    if curve is None or gain is None:
        raise NotTestedError("its curve has fewer than two epochs")
    left = float(students.values["gap_points"][index])
    chance = 100.0 * _LEAST_IMAGES / students.images
    if not students.is_behind(index) or gain < max(settings.late_gain * left, chance):
        return None
    late = (
        f"its gap fell by {gain:.1f} points in the second half of its {len(curve)} epochs, {percent(gain / left)} of "
        f"the gap that is left (threshold: {percent(settings.late_gain)})"
    )
    return Finding((late, gap_text(students, index)))


def too_brief(students: Students, index: int, settings: DiagnosisConfig) -> Finding | None:
    """Fire if the student does not fit the teacher on training images, and too few epochs may be the cause."""
    found = unfit(students, index, settings)
    brief = None if found is None else why_too_brief(students, index, settings)
    return None if found is None or brief is None else Finding((brief, *found))


def under_capacity(students: Students, index: int, settings: DiagnosisConfig) -> Finding | None:
    """Fire if the student does not fit the teacher even on training images."""
    found = unfit(students, index, settings)
    return None if found is None else Finding(found)


def over_capacity(students: Students, index: int, settings: DiagnosisConfig) -> Finding | None:
    """Fire if the student fits and does not generalise, or if a smaller student measured no worse."""
    sizes, gaps = students.values["num_params"], students.values["gap_points"]
    overfit = _overfit(students, index, settings)
    if overfit is not None:
        return overfit
    smaller = students.best_by_size_overall.up_to(settings.smaller_size * sizes[index])
    if smaller is not None and gaps[smaller] <= gaps[index]:
        return Finding((_smaller(students, index, smaller),), smaller)
    better = students.clearly_better([students.best_by_size_overall.up_to(sizes[index] - 1.0)], index)
    if better is None:
        return None
    return Finding((_smaller(students, index, better), _resolved(students, index, better)), better)


def miscalibrated(students: Students, index: int, settings: DiagnosisConfig) -> Finding | None:
    """Fire if the calibration error after calibration is above the accepted one by more than the images' noise."""
    del settings
    ece, noise = (float(students.values[name][index]) for name in ("ece", "ece_noise"))
    if np.isnan(ece) or np.isnan(noise):
        raise NotTestedError("its calibration error was not measured")
    if ece <= largest_calibrated_ece(noise):
        return None
    error = (
        f"its calibration error is {ece:.3f} after calibration; {ACCEPTED_ECE:g} is accepted, and the sample of images "
        f"explains {noise:.3f} more"
    )
    return Finding((error,))


def unresolved_size(students: Students, index: int, settings: DiagnosisConfig) -> Finding | None:
    """Fire if a smaller student measured worse, by less than the validation images can resolve."""
    sizes, gaps = students.values["num_params"], students.values["gap_points"]
    smaller = students.best_by_size_overall.up_to(settings.smaller_size * sizes[index])
    if smaller is None:
        return None
    worse, least = gaps[smaller] - gaps[index], students.resolvable_difference_points(index, smaller)
    if worse > least:
        return None
    comparison = (
        f"{students.named(smaller)} has {percent(sizes[smaller] / sizes[index])} of its parameters and measured "
        f"{worse:.2f} points worse"
    )
    unresolved = f"{students.images:,} validation images cannot resolve a difference below {least:.2f} points"
    return Finding((comparison, unresolved, gap_text(students, index)), smaller)


def _smaller(students: Students, index: int, smaller: int) -> str:
    sizes, gaps = students.values["num_params"], students.values["gap_points"]
    return (
        f"{students.named(smaller)} has {percent(sizes[smaller] / sizes[index])} of its parameters and a gap of "
        f"{signed(gaps[smaller])} points against {signed(gaps[index])}"
    )


def _overfit(students: Students, index: int, settings: DiagnosisConfig) -> Finding | None:
    missed, lost_after = disagreement(students, index, required=False)
    points = students.values["generalisation_gap_points"][index]
    fit = f"it agrees with the teacher on {percent(1.0 - missed)} of the training images"
    if points >= settings.generalisation_gap_points and points > students.half_width_points[index]:
        higher = (
            f"{fit}, and its top-1 is {points:.2f} points higher there than on validation images "
            f"(threshold: {settings.generalisation_gap_points:g})"
        )
        return Finding((higher,))
    if lost_after > missed and is_far_behind(students, index, settings):
        lost = (
            f"it loses more agreement between training and validation images than on training images "
            f"({percent(lost_after)} against {percent(missed)})"
        )
        return Finding((fit, lost, gap_text(students, index)))
    return None


def matched(students: Students, index: int) -> Finding:
    """Return the evidence for a student on which no rule fires."""
    fit, difference = (students.values[name][index] for name in ("train_agreement", "generalisation_gap_points"))
    measured = "its fit on training images was not measured"
    if not np.isnan(fit) and not np.isnan(difference):
        measured = (
            f"it agrees with the teacher on {percent(fit)} of the training images, and its top-1 is "
            f"{abs(difference):.2f} points {'lower' if difference < 0 else 'higher'} there than on validation images"
        )
    rival = students.clearly_better([students.best_by_size_overall.up_to(students.values["num_params"][index])], index)
    if rival is None:
        return Finding((measured, gap_text(students, index)))
    better = (
        f"{students.named(rival)} has as many parameters and a gap of {signed(students.values['gap_points'][rival])} "
        "points, so the size is not the cause"
    )
    return Finding((measured, gap_text(students, index), better))


RULES: tuple[tuple[str, Verdict, Rule], ...] = (
    ("loss_mismatch", "loss_mismatch", loss_mismatch),
    ("architecture_mismatch", "architecture_mismatch", architecture_mismatch),
    ("undertrained", "undertrained", undertrained),
    ("too_brief", "undecided", too_brief),
    ("under_capacity", "under_capacity", under_capacity),
    ("over_capacity", "over_capacity", over_capacity),
    ("miscalibrated", "miscalibrated", miscalibrated),
    ("unresolved_size", "undecided", unresolved_size),
)
"""Name, verdict and function of each rule, in the order in which they are tested. The first that fires decides."""


def _resolved(students: Students, index: int, rival: int) -> str:
    least = students.resolvable_difference_points(index, rival)
    return f"the validation images resolve this difference: it exceeds {least:.2f} points"
