"""What K-fold cross-validation says of the picked students."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nas_distill.analysis.stats import Estimate, estimate
from nas_distill.records import TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldScore:
    """One student over its folds.

    Attributes:
        number: Of the student's trial.
        of: Folds in all.
        scored: Folds that it was scored on.
        top1: Accuracy, 0 to 1; None when no fold was scored.
        gap_points: 100 (teacher top-1 - student top-1), percentage points; None when no fold was scored.
        failures: Number (from 0) and reason of each fold on which its training failed.
        taught_by_assistant: Whether another student taught it.
        stopped_early: Whether each training kept the epoch that was best on its own fold.
    """

    number: int
    of: int
    scored: int
    top1: Estimate | None
    gap_points: Estimate | None
    failures: tuple[tuple[int, str], ...]
    taught_by_assistant: bool
    stopped_early: bool

    @property
    def missing(self) -> int:
        """Folds that are neither scored nor failed."""
        return self.of - self.scored - len(self.failures)


def fold_scores(records: Iterable[TrialRecord], numbers: Iterable[int], of: int) -> tuple[FoldScore, ...]:
    """Returns one row per student, also for one of which no fold has ended.

    Args:
        records: How folds ended; those of other students, and of other numbers of folds, are left out.
        numbers: Trial numbers of the students, in the order of the rows; one that comes twice counts once.
        of: Folds per student, at least 2.
    """
    own = [record for record in records if record.fold is not None and record.fold.of == of]
    return tuple(
        _score(number, of, [record for record in own if record.number == number]) for number in dict.fromkeys(numbers)
    )


def _score(number: int, of: int, records: Sequence[TrialRecord]) -> FoldScore:
    worth = [record.metrics for record in records if record.metrics is not None]
    failures = (
        (record.fold.number, record.error or "it was stopped")
        for record in records
        if record.metrics is None and record.fold is not None
    )
    return FoldScore(
        number=number,
        of=of,
        scored=len(worth),
        top1=estimate([metrics.top1 for metrics in worth]),
        gap_points=estimate([metrics.gap_points for metrics in worth]),
        failures=tuple(sorted(failures)),
        taught_by_assistant=any(record.assistant is not None for record in records),
        stopped_early=any(record.recipe.early_stopping_patience > 0 for record in records),
    )
