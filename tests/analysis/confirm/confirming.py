"""Make records of repeated trainings, as a confirmation writes them."""

from __future__ import annotations

from collections.abc import Sequence

from nas_distill.records import Arm, Confirmation, Fold, StudentMetrics, TrialRecord, TrialStatus
from tests.records.factory import changed_record
from tests.report.factory import make_curve, make_record, make_teacher

TEACHER_TOP1 = 0.98
IMAGES = 36
CLASSES = 10


def make_confirmed(
    number: int,
    arm: Arm,
    repetition: int,
    hits: Sequence[int] | None = None,
    *,
    images: Sequence[int] = (IMAGES,) * CLASSES,
    num_params: int = 5000,
    validation_gap: float | None = None,
    fold: Fold | None = None,
    failed: bool = False,
    **metrics: object,
) -> TrialRecord:
    """Return the record of a training that classified `hits` of the `images` of each class correctly.

    Args:
        number: Trial number of the pick.
        arm: Arm of the training.
        repetition: Number of the repetition, from 0.
        hits: Correct images of each class. Default: all but two of each class.
        images: Images of each class; 0 for a class without images.
        num_params: Parameters of the student.
        validation_gap: Gap at the end of the curve, percentage points. Default: the gap of the hits.
        fold: Fold that it was scored on.
        failed: Whether it ended without a score.
        metrics: Other values of `StudentMetrics`, including `gap_points` and `top1`.
    """
    status = TrialStatus.FAILED if failed else TrialStatus.COMPLETE
    record = make_record(number, gap_points=0.0, num_params=num_params, status=status)
    changes: dict[str, object] = {
        "confirmation": Confirmation(arm=arm, repetition=repetition), "fold": fold, "seed": repetition,
    }  # fmt: skip
    if record.metrics is not None:
        right = [count - 2 for count in images] if hits is None else list(hits)
        changes["metrics"] = found = _metrics(record.metrics, right, images).model_copy(update=metrics)
        at = found.gap_points if validation_gap is None else validation_gap
        curve = make_curve(at, make_teacher(), epochs=record.epochs)
        changes["curve"] = (*curve[:-1], curve[-1].model_copy(update={"gap_points": at}))
    return changed_record(record, **changes)


def _metrics(metrics: StudentMetrics, hits: Sequence[int], images: Sequence[int]) -> StudentMetrics:
    top1 = sum(hits) / sum(images)
    gaps = tuple(
        100.0 * (TEACHER_TOP1 - right / count) if count else None for right, count in zip(hits, images, strict=True)
    )
    return metrics.model_copy(
        update={
            "top1": top1, "gap_points": 100.0 * (TEACHER_TOP1 - top1), "class_gap_points": gaps,
            "class_counts": tuple(images),
        }
    )  # fmt: skip


def make_arms(
    number: int, distilled: Sequence[Sequence[int]], control: Sequence[Sequence[int]], **common: object
) -> list[TrialRecord]:
    """Return both arms of a student, from the correct images of each class in each repetition."""
    arms: tuple[tuple[Arm, Sequence[Sequence[int]]], ...] = (("distilled", distilled), ("control", control))
    return [
        make_confirmed(number, arm, repetition, hits, **common)  # type: ignore[arg-type]
        for arm, rows in arms
        for repetition, hits in enumerate(rows)
    ]
