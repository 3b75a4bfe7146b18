"""Collect the results of a confirmation in one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from nas_distill.analysis.confirm.front_odds import FrontOdds, front_odds
from nas_distill.analysis.confirm.picks import ConfirmedPick, confirmed_picks
from nas_distill.analysis.confirm.students import (
    ConfirmedStudent,
    confirmed_students,
    mean_bias,
    mean_initial_weights_gain,
)
from nas_distill.analysis.stats import Estimate
from nas_distill.objectives import Objective
from nas_distill.records import TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """The confirmed students of a run, all scored on test images or all on the same number of folds.

    Attributes:
        folds: Number of folds; 0 if they were scored on test images.
        students: Confirmed students, by trial number.
        odds: How likely each is to be on their front.
        picks: Picks chosen among the confirmed students.
        bias: Mean selection bias of the search's scores, percentage points (see `students.mean_bias`).
        initial_weights_gain: Mean gain of the students that do not start from random weights, percentage points (see
            `students.mean_initial_weights_gain`).
    """

    folds: int
    students: tuple[ConfirmedStudent, ...]
    odds: FrontOdds
    picks: tuple[ConfirmedPick, ...]
    bias: Estimate | None
    initial_weights_gain: Estimate | None

    @property
    def in_folds(self) -> bool:
        """Whether the students were scored on folds."""
        return self.folds > 0


def confirmations(
    records: Sequence[TrialRecord],
    trials: pd.DataFrame,
    objectives: Sequence[Objective],
    *,
    gap_tolerance_points: float,
) -> tuple[Confirmed, ...]:
    """Return one result for the test images and one for each number of folds, in this order; empty without records.

    Args:
        records: Records of all trainings that confirm students.
        trials: Table of the search's trials.
        objectives: Objectives of the search.
        gap_tolerance_points: Tolerance of its picks, percentage points.
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
        picks=confirmed_picks(students, odds, objectives, gap_tolerance_points=tolerance),
        bias=mean_bias(students),
        initial_weights_gain=mean_initial_weights_gain(students),
    )
