"""The sections on confirmed students: accuracy, distillation gain, selection bias and undistillable classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nas_distill.analysis.confirm.picks import ConfirmedPick
from nas_distill.analysis.confirm.release_gain import ReleaseGain
from nas_distill.analysis.confirm.students import ConfirmedStudent
from nas_distill.analysis.confirm.summary import Confirmed
from nas_distill.analysis.confirm.undistillable import LEVEL
from nas_distill.analysis.formatting import MISSING, percent, signed
from nas_distill.analysis.initial_weights import describe_initial_weights, label_initial_weights
from nas_distill.analysis.permutation_test import least_repetitions
from nas_distill.analysis.stats import Estimate
from nas_distill.records import RANDOM
from nas_distill.report.sections.folds import ROUGH_INTERVAL, STARTS_EXPOSED
from nas_distill.report.sections.section import Section

_TEXTS = frozenset({"Class", "Outcome"})
_NEEDED = least_repetitions(LEVEL)

GAIN_COLUMNS = ("Initial weights", "Top-1 from random weights", "Gain from initial weights, points")
"""Columns that follow `STUDENT_COLUMNS` if a student does not start from random weights."""

STUDENT_COLUMNS = (
    "Trial",
    "Trainings",
    "Top-1",
    "Gap, points",
    "Gap in the search, points",
    "Selection bias, points",
    "Top-1 without teacher",
    "Distillation gain, points",
    "NLL, nats",
    "NLL minus control's, nats",
    "On the front",
)
CLASS_COLUMNS = ("Trial", "Class", "Images", "Control \N{MINUS SIGN} distilled, points", "p, corrected", "Outcome")

_COLUMNS_MEAN = (
    "Selection bias: confirmed gap minus gap in the search. Distillation gain: top-1 with the teacher minus top-1 "
    "without it, same seeds. NLL: mean negative log-likelihood of the labels after calibration; minus control's: the "
    "same with the teacher minus without it, negative is better. On the front: share of 2,000 bootstrap resamples of "
    "the repetitions in which the student is on the front of the confirmed students."
)
_GAIN_MEANS = (
    "Gain from initial weights: top-1 minus top-1 of the same student and recipe from random weights, same seeds. The "
    "arm from random weights is trained at the recipe's full learning rate, without `fine_tuning_rate_share`. The arm "
    "without the teacher keeps the student's initial weights."
)
_MEANING = (
    "Mean and 95 % t interval over seeds, on one set of test images. The interval does not cover the choice of images. "
    f"{_COLUMNS_MEAN}"
)
_FOLD_MEANING = f"Mean and 95 % t interval over folds. {ROUGH_INTERVAL} {_COLUMNS_MEAN}"
_TEST = f"by a paired test that is corrected for the number of classes (level {LEVEL:g} per student)."
_CLAIM = f"Undistillable: accuracy is lower with the teacher than without it, over these seeds and images, {_TEST}"
_FOLD_CLAIM = (
    f"Undistillable: accuracy is lower with the teacher than without it, over these folds, {_TEST} The test treats the "
    "folds as independent although they share training images, so it is only approximate."
)


def confirmed_sections(found: Sequence[Confirmed], class_names: Sequence[str]) -> tuple[Section, ...]:
    """Return the sections on confirmed students; empty before the first training has ended.

    Args:
        found: Confirmed students on test images, and on each number of folds.
        class_names: Names of the classes, in the order of the data.
    """
    sections = (section for one in found for section in (_students(one), _classes(one, class_names)))
    return tuple(section for section in sections if section is not None)


def student_sentences(student: ConfirmedStudent, class_names: Sequence[str]) -> tuple[str, ...]:
    """Return the confirmed scores of one student as sentences."""
    where = "folds" if student.in_folds else "test images"
    scores = f"top-1 {_text(student.top1, _percent, 100.0)}, gap {_text(student.gap_points, signed)} points"
    gain = _text(student.distillation_gain_points, signed)
    sentences = [
        f"{student.repetitions} trainings, scored on {where}: {scores}",
        f"Without the teacher: top-1 {_text(student.control_top1, _percent, 100.0)}; distillation gain {gain} points",
        _likelihoods(student),
    ]
    if student.initial_weights != RANDOM:
        sentences.append(_start(student))
    bias = student.bias
    if bias.total is not None:
        lucky, images = _text(bias.selection, signed), _text(bias.split, signed)
        known = (
            f" ({lucky} from the choice of a lucky seed, {images} from the images)"
            if bias.selection is not None
            else ""
        )
        sentences.append(f"Selection bias of the search: {_text(bias.total, signed)} points{known}")
    sentences.append(f"Undistillable classes: {_hurt(student, class_names)}")
    if student.release is not None:
        sentences.append(_release(student.release))
    sentences += [f"{one.arm}, repetition {one.repetition + 1} failed: {one.reason}" for one in student.failures]
    return tuple(sentences)


def _likelihoods(student: ConfirmedStudent) -> str:
    """Return what the teacher changed in the student's probabilities."""
    change = _text(student.nll_change_nats, _signed_three)
    return (
        f"Negative log-likelihood {_text(student.nll_nats, _three)} nats, without the teacher "
        f"{_text(student.control_nll_nats, _three)}, paired difference {change}; calibration error "
        f"{_text(student.ece, _three)}, without the teacher {_text(student.control_ece, _three)}"
    )


def _start(student: ConfirmedStudent) -> str:
    """Return what the initial weights of a student were worth."""
    start = describe_initial_weights(student.initial_weights)
    if student.random_weights_top1 is None:
        return f"It starts from {start}; no training from random weights has finished"
    top1 = _text(student.random_weights_top1, _percent, 100.0)
    gain = _text(student.initial_weights_gain_points, signed)
    return f"It starts from {start}; from random weights: top-1 {top1}; gain from initial weights {gain} points"


def _hurt(student: ConfirmedStudent, class_names: Sequence[str]) -> str:
    """Return the undistillable classes of a student, or why none are known."""
    if not student.classes:
        return "not compared; no repetition finished both with and without the teacher"
    untested = sum(effect.outcome == "untested" for effect in student.classes)
    if untested == len(student.classes):
        most = max(effect.repetitions for effect in student.classes)
        return f"not tested; needs {_NEEDED} repetitions with and without the teacher, found {most}"
    hurt = ", ".join(class_names[effect.label] for effect in student.undistillable) or "none found"
    return f"{hurt} ({untested} of {len(student.classes)} classes not tested)" if untested else hurt


def _students(found: Confirmed) -> Section:
    odds = dict(zip(found.odds.numbers, found.odds.on_front, strict=True))
    where = f"on {found.folds} folds of the training images" if found.in_folds else "on the test images"
    lead = [f"{pick.title}: {_number(pick)}{pick.sentence}" for pick in found.picks]
    notes = [_FOLD_MEANING if found.in_folds else _MEANING]
    fine_tuned = any(student.initial_weights != RANDOM for student in found.students)
    if fine_tuned:
        notes.append(_GAIN_MEANS)
        if found.in_folds:
            notes.append(STARTS_EXPOSED)
        if found.initial_weights_gain is not None:
            notes.append(f"Mean gain from initial weights: {_text(found.initial_weights_gain, signed)} points.")
    if found.bias is not None:
        bias = _text(found.bias, signed)
        notes.append(f"Mean selection bias of these students: {bias} points.")
    return Section(
        title=f"Confirmed students, {where}",
        lead=tuple(lead),
        columns=(*STUDENT_COLUMNS, *GAIN_COLUMNS) if fine_tuned else STUDENT_COLUMNS,
        lines=tuple(
            (*_line(student, odds.get(student.number)), *(_gain(student) if fine_tuned else ()))
            for student in found.students
        ),
        texts=frozenset({GAIN_COLUMNS[0]}),
        failures=tuple(
            f"trial {student.number}, {one.arm}, repetition {one.repetition + 1} failed: {one.reason}"
            for student in found.students
            for one in student.failures
        ),
        notes=tuple(notes),
    )


def _line(student: ConfirmedStudent, odds: float | None) -> tuple[str, ...]:
    searched = student.bias.search_gap_points
    return (
        str(student.number),
        str(student.repetitions),
        _text(student.top1, _percent, 100.0),
        _text(student.gap_points, signed),
        MISSING if searched is None else signed(searched),
        _text(student.bias.total, signed),
        _text(student.control_top1, _percent, 100.0),
        _text(student.distillation_gain_points, signed),
        _text(student.nll_nats, _three),
        _text(student.nll_change_nats, _signed_three),
        MISSING if odds is None else percent(odds),
    )


def _gain(student: ConfirmedStudent) -> tuple[str, ...]:
    """Return the cells of `GAIN_COLUMNS`."""
    return (
        label_initial_weights(student.initial_weights),
        _text(student.random_weights_top1, _percent, 100.0),
        _text(student.initial_weights_gain_points, signed),
    )


def _classes(found: Confirmed, class_names: Sequence[str]) -> Section | None:
    """Return the classes that the teacher hurts or helps; None if no student has a repetition of both arms."""
    if not any(student.classes for student in found.students):
        return None
    effects = [
        (student.number, effect)
        for student in found.students
        for effect in sorted(student.classes, key=lambda one: one.p_hurt if one.p_hurt is not None else 1.0)
        if effect.outcome in ("undistillable", "helped")
    ]
    hurt = sum(effect.outcome == "undistillable" for _, effect in effects)
    every = sum(len(student.classes) for student in found.students)
    counted = f"{hurt} of {every} pairs of student and class are undistillable"
    return Section(
        title="Undistillable classes" + (f", on {found.folds} folds" if found.in_folds else ""),
        lead=(f"{counted}. The teacher helps on {len(effects) - hurt}.", *_untested(found)),
        columns=CLASS_COLUMNS,
        lines=tuple(
            (
                str(number),
                class_names[effect.label],
                str(effect.images),
                _text(effect.difference_points, signed),
                _p_value(effect.p_hurt if effect.outcome == "undistillable" else effect.p_helped),
                effect.outcome,
            )
            for number, effect in effects
        ),
        texts=_TEXTS,
        notes=(
            _FOLD_CLAIM if found.in_folds else _CLAIM,
            *(f"Trial {one.number}. {_release(one.release)}." for one in found.students if one.release is not None),
        ),
    )


def _untested(found: Confirmed) -> tuple[str, ...]:
    """Return why pairs of student and class are not tested, one sentence per reason."""
    few = without_images = rare = 0
    for student in found.students:
        ended = max((effect.repetitions for effect in student.classes), default=0)
        for effect in student.classes:
            if effect.outcome == "untested":
                without_images += effect.images == 0
                few += effect.images > 0 and ended < _NEEDED
                rare += effect.images > 0 and ended >= _NEEDED
    more = f"--folds {max(_NEEDED, found.folds + 1)}" if found.in_folds else f"--seeds {_NEEDED}"
    sentences = []
    if few:
        sentences.append(
            f"{few} are not tested: they need {_NEEDED} repetitions with and without the teacher. Run confirm with "
            f"{more} or more."
        )
    if rare:
        sentences.append(f"{rare} are not tested: the class has images on fewer than {_NEEDED} folds.")
    if without_images:
        sentences.append(f"{without_images} are not tested: the class has no scored images.")
    unpaired = [str(student.number) for student in found.students if not student.classes]
    if unpaired:
        trials = f"Trial {unpaired[0]} is" if len(unpaired) == 1 else f"Trials {', '.join(unpaired)} are"
        sentences.append(f"{trials} not included: no repetition finished both with and without the teacher.")
    return tuple(sentences)


def _release(gain: ReleaseGain) -> str:
    overall = _text(gain.top1_gain_over_distilled_points, signed)
    text = f"Per-class release changes top-1 by {overall} points compared with the same recipe without it"
    if not gain.classes:
        return text
    control = _text(gain.gain_over_control_points, signed)
    chosen = f"{_text(gain.gain_over_distilled_points, signed)} points ({control} compared with the control)"
    cross_fitted = f"{_text(gain.cross_fitted_gain_over_distilled_points, signed)} points"
    return f"{text}; on the undistillable classes by {chosen}, cross-fitted (unbiased) by {cross_fitted}"


def _number(pick: ConfirmedPick) -> str:
    return "" if pick.number is None else f"trial {pick.number}. "


def _p_value(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3f}"


def _text(found: Estimate | None, text: Callable[[float], str], scale: float = 1.0) -> str:
    """Return a mean and half its interval, such as "+1.20 \N{PLUS-MINUS SIGN} 0.31"."""
    if found is None:
        return MISSING
    if found.half_width is None:
        return text(scale * found.mean)
    half = f"{scale * found.half_width:.3f}" if text in (_three, _signed_three) else f"{scale * found.half_width:.2f}"
    return f"{text(scale * found.mean)} \N{PLUS-MINUS SIGN} {half}"


def _percent(value: float) -> str:
    return f"{value:.2f} %"


def _three(value: float) -> str:
    return f"{value:.3f}"


def _signed_three(value: float) -> str:
    return f"{value:+.3f}"
