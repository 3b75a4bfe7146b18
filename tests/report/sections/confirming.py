"""Confirmed students in a run directory, as `confirm` writes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas_distill.records import Arm, Confirmation, Fold, TrialRecord
from nas_distill.run_directory.layout import RunDirectory
from tests.records.factory import changed_record
from tests.report.factory import CLASS_NAMES, make_teacher

HURT = 3
"""The class on which the teacher hurts."""

IMAGES = 100
"""Number of images of each class of the test split."""


def confirm(
    run: RunDirectory,
    records: Sequence[TrialRecord],
    numbers: Sequence[int],
    *,
    repetitions: int = 5,
    folds: bool = False,
    arms: Sequence[Arm] = ("distilled", "control"),
    unseen: int | None = None,
    unseen_after: int = 0,
) -> None:
    """Write trainings in which the teacher gains two points on most classes and loses ten on one.

    Args:
        run: Run directory.
        records: Records of all its trials.
        numbers: Numbers of the confirmed trials.
        repetitions: Number of repetitions of each arm.
        folds: Whether each repetition is scored on its own fold.
        arms: Arms to write.
        unseen: Class without images.
        unseen_after: Repetition from which on the class has no images.
    """
    teacher = make_teacher()
    generator = np.random.default_rng(0)
    for number in numbers:
        for repetition in range(repetitions):
            for arm in arms:
                gaps = np.full(len(CLASS_NAMES), 4.0 if arm == "distilled" else 6.0)
                gaps[HURT] = {"distilled": 20.0, "control": 10.0, "released": 11.0, "random_weights": 20.0}[arm]
                gaps += generator.integers(-1, 2, len(gaps))
                top1 = teacher.top1 - float(gaps.mean()) / 100.0
                seen = [repetition < unseen_after or label != unseen for label in range(len(gaps))]
                metrics = records[number].metrics
                assert metrics is not None
                record = changed_record(
                    records[number],
                    number=number,
                    confirmation=Confirmation(arm=arm, repetition=repetition),
                    fold=Fold(number=repetition, of=repetitions) if folds else None,
                    metrics=metrics.model_copy(
                        update={
                            "top1": top1,
                            "gap_points": float(gaps.mean()),
                            "class_gap_points": tuple(
                                float(gap) if one else None for gap, one in zip(gaps, seen, strict=True)
                            ),
                            "class_counts": tuple(IMAGES * one for one in seen),
                            "ece": 0.02,
                        }
                    ),
                )
                assert record.confirmation is not None
                run.confirmation(number, record.confirmation, record.fold).write_record(record)
