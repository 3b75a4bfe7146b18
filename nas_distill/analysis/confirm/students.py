"""Estimate accuracy, selection bias and the gains from teacher and initial weights from repeated trainings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from nas_distill.analysis.confirm.arms import arm_metrics, nll_differences, top1_differences
from nas_distill.analysis.confirm.release_gain import ReleaseGain, release_gain
from nas_distill.analysis.confirm.undistillable import LEVEL, ClassEffect, undistillable_classes
from nas_distill.analysis.stats import Estimate, t_interval, with_minimum_width
from nas_distill.records import RANDOM, Arm, Cost, StudentMetrics, TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionBias:
    """How much too small the gap of the search was, in percentage points; positive if the search was optimistic.

    The intervals are over the new seeds. The search's score is one number from one seed.

    Attributes:
        search_gap_points: Gap of the pick's own trial on validation images; None if the table of trials lacks it.
        total: Confirmed gap - search gap; equals `selection` + `split` if both are known.
        selection: Gap of the new seeds on validation images - search gap: the winner's curse, because the search kept
            the best of many seeds. None for folds, where no training was scored on validation images.
        split: Gap of the same new seeds on test images - on validation images: the difference between the two sets of
            images, which includes the teacher's own difference. None for folds.
    """

    search_gap_points: float | None
    total: Estimate | None
    selection: Estimate | None
    split: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A repetition without a score.

    Attributes:
        arm: Arm of the training.
        repetition: Number of the repetition, from 0.
        reason: Error of the training, one line.
    """

    arm: Arm
    repetition: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmedStudent:
    """One pick over the repetitions of its arm "distilled", on test images or on folds.

    The intervals are 95 % t intervals over repetitions (`stats.t_interval`); an estimate is None if no repetition
    finished. The intervals of accuracy, gap and gain have a minimum width, because trainings can agree by chance
    (`stats.with_minimum_width`). They do not include the effect of other images.

    Attributes:
        number: Trial number of the pick.
        cost: Cost of its architecture.
        in_folds: Whether each repetition was scored on its own fold.
        repetitions: Number of finished repetitions of the arm "distilled".
        top1: Accuracy, 0 to 1.
        gap_points: 100 (teacher top-1 - student top-1), percentage points.
        agreement: Agreement with the teacher's argmax, 0 to 1.
        divergence_nats: Mean KL(teacher || student) after calibration, nats.
        nll_nats: Mean negative log-likelihood after calibration, nats.
        ece: Expected calibration error after calibration, 0 to 1; None also if it was not measured.
        control_top1: Accuracy of the arm "control", trained without the teacher, 0 to 1.
        control_nll_nats: Mean negative log-likelihood of that arm, nats.
        control_ece: Expected calibration error of that arm, 0 to 1.
        distillation_gain_points: 100 (top-1 "distilled" - top-1 "control") over the repetitions with both arms.
        nll_change_nats: `nll_nats` - `control_nll_nats` over the same repetitions, nats; negative if the teacher helps.
        initial_weights: Weights that it starts from (`StudentSpec.initial_weights`).
        random_weights_top1: Accuracy of the arm "random_weights", trained with the same recipe from random weights, 0
            to 1; None without that arm.
        initial_weights_gain_points: 100 (top-1 "distilled" - top-1 "random_weights") over the repetitions with both
            arms; None without one.
        bias: Selection bias of the search's score.
        classes: Effect of the teacher on each class; empty without a repetition of both arms.
        release: Gain through per-class release; None without that arm.
        failures: Failed repetitions, by arm and repetition.
    """

    number: int
    cost: Cost
    in_folds: bool
    repetitions: int
    top1: Estimate | None
    gap_points: Estimate | None
    agreement: Estimate | None
    divergence_nats: Estimate | None
    nll_nats: Estimate | None
    ece: Estimate | None
    control_top1: Estimate | None
    control_nll_nats: Estimate | None
    control_ece: Estimate | None
    distillation_gain_points: Estimate | None
    nll_change_nats: Estimate | None
    initial_weights: str
    random_weights_top1: Estimate | None
    initial_weights_gain_points: Estimate | None
    bias: SelectionBias
    classes: tuple[ClassEffect, ...]
    release: ReleaseGain | None
    failures: tuple[Failure, ...]

    @property
    def undistillable(self) -> tuple[ClassEffect, ...]:
        """The undistillable classes, largest loss of accuracy first."""
        found = [effect for effect in self.classes if effect.outcome == "undistillable"]
        return tuple(sorted(found, key=_loss_points, reverse=True))


def confirmed_students(
    records: Iterable[TrialRecord], trials: pd.DataFrame, *, level: float = LEVEL
) -> tuple[ConfirmedStudent, ...]:
    """Return one row per confirmed student, by trial number.

    Args:
        records: Records of a confirmation; records of a search are ignored.
        trials: Table of the search's trials; see `StudySnapshot.trials`.
        level: Level of the test of `undistillable_classes`.

    Raises:
        ConfigError: `level` is not in (0, 1).
    """
    by_number: dict[int, list[TrialRecord]] = {}
    for record in records:
        if record.confirmation is not None:
            by_number.setdefault(record.number, []).append(record)
    known = trials.dropna(subset=["gap_points"])
    gaps = dict(zip(known["number"].astype(int), known["gap_points"].astype(float), strict=True))
    return tuple(_student(by_number[number], gaps.get(number), level) for number in sorted(by_number))


def mean_bias(students: Sequence[ConfirmedStudent]) -> Estimate | None:
    """Return the mean selection bias with an interval over the students, in percentage points.

    Args:
        students: Confirmed students; those without a total bias are ignored.
    """
    return t_interval([student.bias.total.mean for student in students if student.bias.total is not None])


def mean_initial_weights_gain(students: Sequence[ConfirmedStudent]) -> Estimate | None:
    """Return the mean gain from initial weights with an interval over the students, in percentage points.

    Args:
        students: Confirmed students; those without a gain are ignored.
    """
    gains = [student.initial_weights_gain_points for student in students]
    return t_interval([gain.mean for gain in gains if gain is not None])


def _student(records: Sequence[TrialRecord], search_gap: float | None, level: float) -> ConfirmedStudent:
    distilled, control = arm_metrics(records, "distilled"), arm_metrics(records, "control")
    from_random = arm_metrics(records, "random_weights")
    metrics = list(distilled.values())
    classes = undistillable_classes(records, level=level)
    return ConfirmedStudent(
        number=records[0].number,
        cost=records[0].cost,
        in_folds=any(record.fold is not None for record in records),
        repetitions=len(metrics),
        top1=_by_images([one.top1 for one in metrics], metrics, 1.0),
        gap_points=_by_images([one.gap_points for one in metrics], metrics, 100.0),
        agreement=t_interval([one.agreement for one in metrics]),
        divergence_nats=t_interval([one.divergence_nats for one in metrics]),
        nll_nats=t_interval([one.nll_nats for one in metrics]),
        ece=t_interval([one.ece for one in metrics if one.ece is not None]),
        control_top1=_by_images([one.top1 for one in control.values()], list(control.values()), 1.0),
        control_nll_nats=t_interval([one.nll_nats for one in control.values()]),
        control_ece=t_interval([one.ece for one in control.values() if one.ece is not None]),
        distillation_gain_points=_by_images(top1_differences(distilled, control), metrics, 100.0),
        nll_change_nats=t_interval(nll_differences(distilled, control)),
        initial_weights=next((one for one in map(_initial_weights, records) if one != RANDOM), RANDOM),
        random_weights_top1=_by_images([one.top1 for one in from_random.values()], list(from_random.values()), 1.0),
        initial_weights_gain_points=_by_images(top1_differences(distilled, from_random), metrics, 100.0),
        bias=_bias(records, distilled, search_gap),
        classes=classes,
        release=release_gain(records, classes, level=level),
        failures=_failures(records),
    )


def _initial_weights(record: TrialRecord) -> str:
    return record.spec.initial_weights or RANDOM


def _by_images(values: Sequence[float], scored: Sequence[StudentMetrics], scale: float) -> Estimate | None:
    """Return the mean of accuracies times `scale`, with the minimum width that the number of images sets."""
    images = sum(sum(one.class_counts) for one in scored)
    return with_minimum_width(t_interval(values), scale * len(scored) / images if images else 0.0, len(values))


def _bias(
    records: Sequence[TrialRecord], distilled: Mapping[int, StudentMetrics], search: float | None
) -> SelectionBias:
    own = {
        record.confirmation.repetition: _validation_gap(record)
        for record in records
        if record.confirmation is not None and record.confirmation.arm == "distilled" and record.fold is None
    }
    fresh = {repetition: gap for repetition in distilled if (gap := own.get(repetition)) is not None}
    return SelectionBias(
        search_gap_points=search,
        total=None if search is None else t_interval([one.gap_points - search for one in distilled.values()]),
        selection=None if search is None else t_interval([gap - search for gap in fresh.values()]),
        split=t_interval([distilled[repetition].gap_points - gap for repetition, gap in fresh.items()]),
    )


def _validation_gap(record: TrialRecord) -> float | None:
    """Return the gap of the kept weights on validation images: the last epoch's, or the best with early stopping."""
    gaps = [point.gap_points for point in record.curve if point.gap_points is not None]
    if not gaps:
        return None
    return min(gaps) if record.recipe.early_stopping_patience > 0 else gaps[-1]


def _failures(records: Sequence[TrialRecord]) -> tuple[Failure, ...]:
    found = [
        Failure(
            arm=record.confirmation.arm,
            repetition=record.confirmation.repetition,
            reason=record.error or "the training was stopped",
        )
        for record in records
        if record.confirmation is not None and record.metrics is None
    ]
    return tuple(sorted(found, key=lambda failure: (failure.arm, failure.repetition)))


def _loss_points(effect: ClassEffect) -> float:
    return effect.difference_points.mean if effect.difference_points is not None else 0.0
