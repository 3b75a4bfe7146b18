"""Everything that the confirmed students of a run come to, as one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from nas_distill.analysis.confirmed import ConfirmedStudent, confirmed_students, mean_bias
from nas_distill.analysis.confirmed_front import FrontOdds, front_odds
from nas_distill.analysis.confirmed_picks import ConfirmedPick, choose_again
from nas_distill.analysis.folds import Estimate
from nas_distill.objectives import Objective
from nas_distill.records import TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """The confirmed students of a run, scored on test images or all on folds.

    Attributes:
        in_folds: Whether on folds.
        students: By trial number.
        odds: How likely each stands on their front.
        picks: The picks chosen again among them.
        bias: What the search flattered them by on average, points.
    """

    in_folds: bool
    students: tuple[ConfirmedStudent, ...]
    odds: FrontOdds
    picks: tuple[ConfirmedPick, ...]
    bias: Estimate | None


def confirmations(
    records: Sequence[TrialRecord],
    trials: pd.DataFrame,
    objectives: Sequence[Objective],
    *,
    gap_tolerance_points: float,
) -> tuple[Confirmed, ...]:
    """Returns what `records` come to: on test images, and on folds, apart; nothing without a record.

    Args:
        records: Of all trainings that confirm students.
        trials: The search's table.
        objectives: Of the search.
        gap_tolerance_points: Of its picks.
    """
    kinds = {record.fold.of if record.fold is not None else 0 for record in records}
    return tuple(
        _confirmed(
            [one for one in records if (one.fold.of if one.fold is not None else 0) == folds],
            trials,
            objectives,
            gap_tolerance_points,
        )
        for folds in sorted(kinds)
    )


def _confirmed(
    records: Sequence[TrialRecord], trials: pd.DataFrame, objectives: Sequence[Objective], tolerance: float
) -> Confirmed:
    students = confirmed_students(records, trials)
    odds = front_odds(records, objectives)
    return Confirmed(
        in_folds=records[0].fold is not None,
        students=students,
        odds=odds,
        picks=choose_again(students, odds, objectives, gap_tolerance_points=tolerance),
        bias=mean_bias(students),
    )
