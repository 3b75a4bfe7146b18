"""Whether a student fits the teacher on training images, and whether it was trained long enough to judge that."""

from __future__ import annotations

import numpy as np

from nas_distill.analysis.diagnosis.students import Students
from nas_distill.analysis.formatting import percent, signed
from nas_distill.config import DiagnosisConfig

Evidence = tuple[str, ...]
"""Sentences with measured values and thresholds."""


class NotTestedError(Exception):
    """A rule has nothing to compare with; the message gives the reason."""


_PATIENCE = 4
"""A student that has had this many times the epochs that its teacher needed had enough, however badly it fits."""


def unfit(students: Students, index: int, settings: DiagnosisConfig) -> Evidence | None:
    """Return the evidence that it does not fit on training images; None if it does, or if its size is not the cause.

    Raises:
        NotTestedError: The agreement on training images was not measured.
    """
    missed, lost_after = disagreement(students, index)
    if not students.is_behind(index):
        return None
    siblings = students.best_by_size[students.groups[index]]
    if students.clearly_better([siblings.up_to(students.values["num_params"][index])], index) is not None:
        return None  # a student of its family is better with no more parameters, so the size is not the cause
    divergence = students.values["train_divergence_nats"][index]
    fit = (
        f"it agrees with the teacher on {percent(1.0 - missed)} of the training images (divergence {divergence:.3f} "
        "nats)"
    )
    if 1.0 - missed < settings.train_agreement:
        unfitted = f"{fit}; below {percent(settings.train_agreement)} it does not fit the teacher"
        return (unfitted, gap_text(students, index))
    if missed < lost_after or not is_far_behind(students, index, settings):
        return None
    lost = (
        f"it loses more agreement on training images than between training and validation images ({percent(missed)} "
        f"against {percent(max(lost_after, 0.0))})"
    )
    return (fit, lost, gap_text(students, index))


def why_too_brief(students: Students, index: int, settings: DiagnosisConfig) -> str | None:
    """Return why its number of epochs may be the cause of a bad fit; None if it was trained long enough.

    A training of twice as many epochs that is not clearly better shows that it was.
    """
    epochs, fit = students.values["planned_epochs"], float(students.values["train_agreement"][index])
    if students.was_trained_longer(index):
        return None
    needed = students.teacher_epochs
    if needed is not None and epochs[index] < needed:
        return f"it was trained for {epochs[index]:.0f} epochs, and the teacher itself needed {needed} on these images"
    if fit < settings.begun_agreement and (needed is None or epochs[index] < _PATIENCE * needed):
        return (
            f"it has only begun to fit: its agreement on training images is below {percent(settings.begun_agreement)} "
            f"after {epochs[index]:.0f} epochs"
        )
    return None


def disagreement(students: Students, index: int, *, required: bool = True) -> tuple[float, float]:
    """Return the share of training images on which a student disagrees, and by how much it rises on validation images.

    NaN where a value was not measured.

    Raises:
        NotTestedError: The agreement on training images is required and was not measured.
    """
    fit, agreement = (float(students.values[name][index]) for name in ("train_agreement", "agreement"))
    if required and np.isnan(fit):
        raise NotTestedError("its agreement on training images was not measured")
    return 1.0 - fit, fit - agreement


def is_far_behind(students: Students, index: int, settings: DiagnosisConfig) -> bool:
    """Whether its gap is above 0 beyond chance, and large (`DiagnosisConfig.far_behind_points`)."""
    return students.is_behind(index) and bool(students.values["gap_points"][index] >= settings.far_behind_points)


def gap_text(students: Students, index: int) -> str:
    """Return its gap with the interval, as evidence."""
    gap, half = students.values["gap_points"][index], students.gap_half_width_points[index]
    resolved = "the validation images resolve it" if students.is_behind(index) else "too small to resolve"
    return f"its gap is {signed(gap)} \N{PLUS-MINUS SIGN} {half:.2f} points: {resolved}"
