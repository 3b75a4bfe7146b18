"""The rules of the decision table. Each looks at one student among all, and returns what it found or None."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nas_distill.analysis.diagnosis.curves import late_progress, tail_slope
from nas_distill.analysis.diagnosis.recipe_differences import distinguishing_labels, other_differences, recipes_differ
from nas_distill.analysis.diagnosis.students import Students
from nas_distill.analysis.diagnosis.verdicts import Verdict
from nas_distill.analysis.formatting import percent, short_count, signed
from nas_distill.config import DiagnosisConfig


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found.

    Attributes:
        evidence: Sentences with measured values and thresholds.
        rival: Index of the student that the evidence compares with; None if it compares with none.
    """

    evidence: tuple[str, ...]
    rival: int | None = None


Rule = Callable[[Students, int, DiagnosisConfig], Finding | None]


class NotTestedError(Exception):
    """A rule has nothing to compare with; the message gives the reason."""


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
    evidence: tuple[str, ...] = (comparison, _resolved(students, index, rival))
    fields = other_differences(students, index, rival)
    if fields:
        evidence = (*evidence, f"their recipes also differ in {fields}, so the loss alone may not be the cause")
    return Finding(evidence, rival)


def undertrained(students: Students, index: int, settings: DiagnosisConfig) -> Finding | None:
    """Fire if much of the divergence's fall came in the second half of the epochs and its tail still falls fast."""
    curve = students.divergences.get(int(students.numbers[index]))
    late = None if curve is None else late_progress(curve)
    if curve is None or late is None:
        raise NotTestedError("its curve has fewer than two epochs")
    if late < settings.late_progress:
        return None
    late_fall = (
        f"{percent(late)} of the fall of its divergence came in the second half of its {len(curve)} epochs "
        f"(threshold: {percent(settings.late_progress)})"
    )
    slope = tail_slope(curve)
    if slope is None:
        return Finding((late_fall, "it has too few epochs to measure the slope of the curve's end"))
    left = float(curve[np.isfinite(curve)][-1])
    pace = -slope.per_epoch * len(curve) / left if left > 0.0 else 0.0
    if not slope.falls or pace < settings.pace:
        return None
    falls = (
        f"its divergence falls by {-slope.per_epoch:.4f} nats per epoch over the last {slope.epochs} epochs "
        f"(95 % interval {-slope.high:.4f} to {-slope.low:.4f})"
    )
    outlook = (
        f"at that rate, as many epochs again would remove {percent(pace)} of the remaining divergence "
        f"(threshold: {percent(settings.pace)})"
    )
    return Finding((late_fall, falls, outlook))


def architecture_mismatch(students: Students, index: int, settings: DiagnosisConfig) -> Finding | None:
    """Fire if another family is clearly better at this size, its own is not, and its features match the teacher's less.

    Where the similarity of features was not measured, the gaps alone decide.
    """
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


def under_capacity(students: Students, index: int, settings: DiagnosisConfig) -> Finding | None:
    """Fire if the student does not fit the teacher even on training images, unless a sibling no larger is better."""
    unfit, lost_after = _disagreement(students, index)
    if not students.is_behind(index):
        return None
    siblings = students.best_by_size[students.groups[index]]
    if students.clearly_better([siblings.up_to(students.values["num_params"][index])], index) is not None:
        return None  # a student of its family is better with no more parameters, so the size is not the cause
    divergence = students.values["train_divergence_nats"][index]
    fit = (
        f"it agrees with the teacher on {percent(1.0 - unfit)} of the training images (divergence {divergence:.3f} "
        "nats)"
    )
    if 1.0 - unfit < settings.train_agreement:
        unfitted = f"{fit}; below {percent(settings.train_agreement)} it does not fit the teacher"
        return Finding((unfitted, _gap(students, index)))
    if unfit < lost_after or not _is_far_behind(students, index, settings):
        return None
    lost = (
        f"it loses more agreement on training images than between training and validation images ({percent(unfit)} "
        f"against {percent(max(lost_after, 0.0))})"
    )
    return Finding((fit, lost, _gap(students, index)))


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


def undecided(students: Students, index: int, settings: DiagnosisConfig) -> Finding | None:
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
    return Finding((comparison, unresolved, _gap(students, index)), smaller)


def _smaller(students: Students, index: int, smaller: int) -> str:
    sizes, gaps = students.values["num_params"], students.values["gap_points"]
    return (
        f"{students.named(smaller)} has {percent(sizes[smaller] / sizes[index])} of its parameters and a gap of "
        f"{signed(gaps[smaller])} points against {signed(gaps[index])}"
    )


def _overfit(students: Students, index: int, settings: DiagnosisConfig) -> Finding | None:
    unfit, lost_after = _disagreement(students, index, required=False)
    points = students.values["generalisation_gap_points"][index]
    fit = f"it agrees with the teacher on {percent(1.0 - unfit)} of the training images"
    if points >= settings.generalisation_gap_points and points > students.half_width_points[index]:
        higher = (
            f"{fit}, and its top-1 is {points:.2f} points higher there than on validation images "
            f"(threshold: {settings.generalisation_gap_points:g})"
        )
        return Finding((higher,))
    if lost_after > unfit and _is_far_behind(students, index, settings):
        lost = (
            f"it loses more agreement between training and validation images than on training images "
            f"({percent(lost_after)} against {percent(unfit)})"
        )
        return Finding((fit, lost, _gap(students, index)))
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
        return Finding((measured, _gap(students, index)))
    better = (
        f"{students.named(rival)} has as many parameters and a gap of {signed(students.values['gap_points'][rival])} "
        "points, so the size is not the cause"
    )
    return Finding((measured, _gap(students, index), better))


RULES: dict[Verdict, Rule] = {
    "loss_mismatch": loss_mismatch,
    "undertrained": undertrained,
    "architecture_mismatch": architecture_mismatch,
    "under_capacity": under_capacity,
    "over_capacity": over_capacity,
    "undecided": undecided,
}
"""The rule of each verdict. Their order is that of `verdicts.VERDICTS`."""


def _disagreement(students: Students, index: int, *, required: bool = True) -> tuple[float, float]:
    """Return the share of training images on which a student disagrees, and by how much it rises on validation images.

    NaN where a value was not measured.

    Raises:
        NotTestedError: The agreement on training images is required and was not measured.
    """
    fit, agreement = (float(students.values[name][index]) for name in ("train_agreement", "agreement"))
    if required and np.isnan(fit):
        raise NotTestedError("its agreement on training images was not measured")
    return 1.0 - fit, fit - agreement


def _is_far_behind(students: Students, index: int, settings: DiagnosisConfig) -> bool:
    return students.is_behind(index) and bool(students.values["gap_points"][index] >= settings.far_behind_points)


def _gap(students: Students, index: int) -> str:
    gap, half = students.values["gap_points"][index], students.gap_half_width_points[index]
    resolved = "the validation images resolve it" if students.is_behind(index) else "too small to resolve"
    return f"its gap is {signed(gap)} \N{PLUS-MINUS SIGN} {half:.2f} points: {resolved}"


def _resolved(students: Students, index: int, rival: int) -> str:
    least = students.resolvable_difference_points(index, rival)
    return f"the validation images resolve this difference: it exceeds {least:.2f} points"
