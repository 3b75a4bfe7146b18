"""Pair the arms of a confirmed student ("distilled", "control" and others, see `records.task`) by repetition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from nas_distill.records import Arm, StudentMetrics, TrialRecord

Floats = NDArray[np.float64]


def arm_metrics(records: Iterable[TrialRecord], arm: Arm) -> dict[int, StudentMetrics]:
    """Return the metrics of one student's trainings of an arm, by repetition; failed trainings are left out.

    Raises:
        ValueError: The records belong to several students.
    """
    own = [record for record in records if record.confirmation is not None]
    if len({record.number for record in own}) > 1:
        numbers = sorted({record.number for record in own})
        raise ValueError(f"the records belong to trials {numbers}; pass the records of one student")
    found = {
        record.confirmation.repetition: record.metrics
        for record in own
        if record.confirmation is not None and record.confirmation.arm == arm and record.metrics is not None
    }
    return dict(sorted(found.items()))


def shared_repetitions(*arms: dict[int, StudentMetrics]) -> list[int]:
    """Return the repetitions that all arms have, ascending."""
    return sorted(set.intersection(*(set(arm) for arm in arms)))


def class_gaps(arm: dict[int, StudentMetrics], repetitions: Sequence[int]) -> Floats:
    """Return the gap of each class, percentage points [R, C], R at least 1; NaN for a class without images."""
    rows = [[np.nan if gap is None else gap for gap in arm[repetition].class_gap_points] for repetition in repetitions]
    return np.array(rows, dtype=np.float64)


def class_counts(arm: dict[int, StudentMetrics], repetitions: Sequence[int]) -> NDArray[np.int64]:
    """Return the number of scored images of each class [R, C], R at least 1."""
    return np.array([arm[repetition].class_counts for repetition in repetitions], dtype=np.int64)


def nll_differences(first: dict[int, StudentMetrics], second: dict[int, StudentMetrics]) -> list[float]:
    """Return the negative log-likelihood of the first arm - that of the second for each shared repetition, nats."""
    return [first[shared].nll_nats - second[shared].nll_nats for shared in shared_repetitions(first, second)]


def top1_differences(first: dict[int, StudentMetrics], second: dict[int, StudentMetrics]) -> list[float]:
    """Return 100 (top-1 of the first arm - top-1 of the second) for each shared repetition, percentage points."""
    return [100.0 * (first[shared].top1 - second[shared].top1) for shared in shared_repetitions(first, second)]
