"""Everything that the confirmed students of a run come to, as one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from nas_distill.analysis.confirm.front_odds import FrontOdds, front_odds
from nas_distill.analysis.confirm.picks import ConfirmedPick, choose_again
from nas_distill.analysis.confirm.students import ConfirmedStudent, confirmed_students, mean_bias
from nas_distill.analysis.stats import Estimate
from nas_distill.objectives import Objective
from nas_distill.records import TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """The confirmed students of a run, scored on test images or all on as many folds.

    Attributes:
        folds: How many folds; 0 on test images.
        students: By trial number.
        odds: How likely each stands on their front.
        picks: The picks chosen again among them.
        bias: What the search flattered them by on average, points.
    """

    folds: int
    students: tuple[ConfirmedStudent, ...]
    odds: FrontOdds
    picks: tuple[ConfirmedPick, ...]
    bias: Estimate | None

    @property
    def in_folds(self) -> bool:
        """Whether on folds."""
        return self.folds > 0


def confirmations(
    records: Sequence[TrialRecord],
    trials: pd.DataFrame,
    objectives: Sequence[Objective],
    *,
    gap_tolerance_points: float,
) -> tuple[Confirmed, ...]:
    """Returns what `records` come to: on test images, and on each number of folds, apart; nothing without a record.

    Args:
        records: Of all trainings that confirm students.
        trials: The search's table.
        objectives: Of the search.
        gap_tolerance_points: Of its picks.
    """
    by_folds: dict[int, list[TrialRecord]] = {}
    for record in records:
        by_folds.setdefault(0 if record.fold is None else record.fold.of, []).append(record)
    return tuple(
        _confirmed(folds, own, trials, objectives, gap_tolerance_points) for folds, own in sorted(by_folds.items())
    )


def _confirmed(
    folds: int,
    records: Sequence[TrialRecord],
    trials: pd.DataFrame,
    objectives: Sequence[Objective],
    tolerance: float,
) -> Confirmed:
    students = confirmed_students(records, trials)
    odds = front_odds(records, objectives)
    return Confirmed(
        folds=folds,
        students=students,
        odds=odds,
        picks=choose_again(students, odds, objectives, gap_tolerance_points=tolerance),
        bias=mean_bias(students),
    )
