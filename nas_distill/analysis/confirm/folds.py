"""Summarise the K-fold cross-validation of picked students."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nas_distill.analysis.stats import Estimate, t_interval
from nas_distill.records import TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldScore:
    """One student over its folds.

    Attributes:
        number: Trial number of the student.
        of: Number of folds.
        scored: Number of folds that it was scored on.
        top1: Accuracy, 0 to 1; None if no fold was scored.
        gap_points: 100 (teacher top-1 - student top-1), percentage points; None if no fold was scored.
        failures: Number (from 0) and error of each fold whose training failed.
        has_assistant: Whether another student taught it.
        stopped_early: Whether each training kept the best epoch on its own fold.
    """

    number: int
    of: int
    scored: int
    top1: Estimate | None
    gap_points: Estimate | None
    failures: tuple[tuple[int, str], ...]
    has_assistant: bool
    stopped_early: bool

    @property
    def missing(self) -> int:
        """Number of folds that are neither scored nor failed."""
        return self.of - self.scored - len(self.failures)


def fold_scores(records: Iterable[TrialRecord], numbers: Iterable[int], of: int) -> tuple[FoldScore, ...]:
    """Return one row per student, including students without a finished fold.

    Args:
        records: Records of folds. Those of other students, and of another number of folds, are ignored.
        numbers: Trial numbers of the students, in the order of the rows; duplicates count once.
        of: Number of folds per student, at least 2.
    """
    own = [record for record in records if record.fold is not None and record.fold.of == of]
    return tuple(
        _score(number, of, [record for record in own if record.number == number]) for number in dict.fromkeys(numbers)
    )


def _score(number: int, of: int, records: Sequence[TrialRecord]) -> FoldScore:
    metrics = [record.metrics for record in records if record.metrics is not None]
    failures = (
        (record.fold.number, record.error or "the training was stopped")
        for record in records
        if record.metrics is None and record.fold is not None
    )
    return FoldScore(
        number=number,
        of=of,
        scored=len(metrics),
        top1=t_interval([one.top1 for one in metrics]),
        gap_points=t_interval([one.gap_points for one in metrics]),
        failures=tuple(sorted(failures)),
        has_assistant=any(record.assistant is not None for record in records),
        stopped_early=any(record.recipe.early_stopping_patience > 0 for record in records),
    )
