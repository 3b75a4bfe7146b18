"""What repeated trainings of the picked students say: worth, gain over no teacher, and what the search flattered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from nas_distill.analysis.confirm.arms import arm_metrics, top1_differences
from nas_distill.analysis.confirm.release_gain import ReleaseGain, release_gain
from nas_distill.analysis.confirm.undistillable import LEVEL, ClassEffect, floored, undistillable_classes
from nas_distill.analysis.stats import Estimate, estimate
from nas_distill.records import Arm, Cost, StudentMetrics, TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionBias:
    """What the search's score promised too much, percentage points of the gap; positive where it flattered.

    Intervals are over the fresh seeds; the search's score is one number of one seed.

    Attributes:
        search_gap_points: Of the pick's own trial, on validation; None when the table of trials does not have it.
        total: Confirmed gap - search gap; `selection` + `split`, where both are known.
        selection: Gap of fresh seeds on validation - search gap: the winner's curse. The search took the best of many
            lucky seeds. None in folds, of which validation took no part.
        split: Gap of the same fresh seeds on test - on validation: what differs between the images. The teacher's own
            accuracy on both takes part. None in folds.
    """

    search_gap_points: float | None
    total: Estimate | None
    selection: Estimate | None
    split: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A repetition that ended without a score.

    Attributes:
        arm: Of the training.
        repetition: From 0.
        reason: One line.
    """

    arm: Arm
    repetition: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmedStudent:
    """One pick over its repetitions, as taught; on test images, or on folds.

    Intervals are 95 % t intervals over repetitions (see `folds.estimate`); None where no repetition ended. Those of
    accuracies, of their gap and of their gain have the floor of `undistillable.class_effects`, by all scored images:
    trainings may agree by chance. What other images would change is not in them.

    Attributes:
        number: Trial of the pick.
        cost: Of its spec.
        in_folds: Whether each repetition was scored on its own fold.
        repetitions: Of the arm "taught" that ended.
        top1: Accuracy, 0 to 1.
        gap_points: 100 (teacher top-1 - student top-1), percentage points.
        agreement: With the teacher's argmax, 0 to 1.
        divergence_nats: Mean KL(teacher || student).
        nll_nats: Mean negative log-likelihood.
        ece: Expected calibration error, 0 to 1; None also where it was not measured.
        alone_top1: Accuracy of the control.
        distillation_gain_points: 100 (top-1 taught - alone) of the repetitions that have both.
        bias: Of the search's score.
        classes: What the teacher did to each class; empty without a repetition of both arms.
        release: What per-class release gained; None where there was no such arm.
        failures: By arm and repetition.
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
    alone_top1: Estimate | None
    distillation_gain_points: Estimate | None
    bias: SelectionBias
    classes: tuple[ClassEffect, ...]
    release: ReleaseGain | None
    failures: tuple[Failure, ...]

    @property
    def undistillable(self) -> tuple[ClassEffect, ...]:
        """The classes that are undistillable, the most hurt first."""
        found = [effect for effect in self.classes if effect.verdict == "undistillable"]
        return tuple(sorted(found, key=_hurt, reverse=True))


def confirmed_students(
    records: Iterable[TrialRecord], trials: pd.DataFrame, *, level: float = LEVEL
) -> tuple[ConfirmedStudent, ...]:
    """Returns one row per picked student, by trial number.

    Args:
        records: All of a confirm; records of a search are left out.
        trials: The search's table, as `frame.load_frame` returns it.
        level: See `undistillable_classes`.

    Raises:
        ConfigError: `level` is not within (0, 1).
    """
    by_number: dict[int, list[TrialRecord]] = {}
    for record in records:
        if record.confirmation is not None:
            by_number.setdefault(record.number, []).append(record)
    known = trials.dropna(subset=["gap_points"])
    gaps = dict(zip(known["number"].astype(int), known["gap_points"].astype(float), strict=True))
    return tuple(_student(by_number[number], gaps.get(number), level) for number in sorted(by_number))


def mean_bias(students: Sequence[ConfirmedStudent]) -> Estimate | None:
    """Returns what the search flattered its picks by on average, points, with an interval over students.

    Args:
        students: Picks; those without a total bias are left out.
    """
    return estimate([student.bias.total.mean for student in students if student.bias.total is not None])


def _student(records: Sequence[TrialRecord], search_gap: float | None, level: float) -> ConfirmedStudent:
    distilled, control = arm_metrics(records, "distilled"), arm_metrics(records, "control")
    worth = list(distilled.values())
    classes = undistillable_classes(records, level=level)
    return ConfirmedStudent(
        number=records[0].number,
        cost=records[0].cost,
        in_folds=any(record.fold is not None for record in records),
        repetitions=len(worth),
        top1=_by_images([one.top1 for one in worth], worth, 1.0),
        gap_points=_by_images([one.gap_points for one in worth], worth, 100.0),
        agreement=estimate([one.agreement for one in worth]),
        divergence_nats=estimate([one.divergence_nats for one in worth]),
        nll_nats=estimate([one.nll_nats for one in worth]),
        ece=estimate([one.ece for one in worth if one.ece is not None]),
        alone_top1=_by_images([one.top1 for one in control.values()], list(control.values()), 1.0),
        distillation_gain_points=_by_images(top1_differences(distilled, control), worth, 100.0),
        bias=_bias(records, distilled, search_gap),
        classes=classes,
        release=release_gain(records, classes, level=level),
        failures=_failures(records),
    )


def _by_images(values: Sequence[float], scored: Sequence[StudentMetrics], scale: float) -> Estimate | None:
    """Returns the mean of shares of images that were right, in units of 1 / `scale`, floored by their number."""
    images = sum(sum(one.class_counts) for one in scored)
    return floored(estimate(values), scale * len(scored) / images if images else 0.0, len(values))


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
        total=None if search is None else estimate([one.gap_points - search for one in distilled.values()]),
        selection=None if search is None else estimate([gap - search for gap in fresh.values()]),
        split=estimate([distilled[repetition].gap_points - gap for repetition, gap in fresh.items()]),
    )


def _validation_gap(record: TrialRecord) -> float | None:
    """Returns the gap of the kept weights on validation: of the last epoch, or of the best with early stopping."""
    gaps = [point.gap_points for point in record.curve if point.gap_points is not None]
    if not gaps:
        return None
    return min(gaps) if record.recipe.early_stopping_patience > 0 else gaps[-1]


def _failures(records: Sequence[TrialRecord]) -> tuple[Failure, ...]:
    found = [
        Failure(
            arm=record.confirmation.arm,
            repetition=record.confirmation.repetition,
            reason=record.error or "it was stopped",
        )
        for record in records
        if record.confirmation is not None and record.metrics is None
    ]
    return tuple(sorted(found, key=lambda failure: (failure.arm, failure.repetition)))


def _hurt(effect: ClassEffect) -> float:
    return effect.difference_points.mean if effect.difference_points is not None else 0.0
