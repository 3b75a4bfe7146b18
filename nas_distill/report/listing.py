"""The students of one or more runs, filtered and thinned, as one value: the answer of `nas_distill pareto`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas_distill.analysis.front.arithmetic import Floats, axes, from_coordinates
from nas_distill.analysis.front.comparison import Comparison, compare_runs
from nas_distill.analysis.front.epsilon import epsilon_front_mask, tolerances
from nas_distill.analysis.front.named_studies import NamedStudy
from nas_distill.analysis.run import Run
from nas_distill.analysis.trials.filters import parse_filter
from nas_distill.errors import ConfigError
from nas_distill.objectives import Objective, check_objectives

if TYPE_CHECKING:
    import pandas as pd

    from nas_distill.analysis.decision.records import Decision
    from nas_distill.analysis.front.front import ParetoFront
    from nas_distill.analysis.front.picks import Pick


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Students of one or more runs.

    Attributes:
        comparison: Comparison of the runs.
        students: The listed rows of the comparison's students, cheapest first.
        where: Text of the filter; None without a filter.
        epsilon: Differences that were ignored to thin the front, by objective; empty without thinning.
        front: Front that the picks were chosen from; None for several runs, with a filter, or with other objectives
            than those of the run.
        decision: Decision of the run; None where `front` is None.
    """

    comparison: Comparison
    students: pd.DataFrame
    where: str | None
    epsilon: Mapping[str, float]
    front: ParetoFront | None = None
    decision: Decision | None = None

    @property
    def picks(self) -> tuple[Pick, ...]:
        """Picks of the run; empty without a decision."""
        return () if self.decision is None else self.decision.picks

    def picks_of(self, number: int) -> list[Pick]:
        """Return the picks that chose a trial."""
        return [pick for pick in self.picks if pick.number == number]


def list_students(
    folders: Sequence[Path],
    *,
    objectives: Sequence[str] | None = None,
    where: str | None = None,
    epsilon: Mapping[str, float] | None = None,
    everything: bool = False,
) -> Listing:
    """Return the joint Pareto front of runs, or all their students.

    Args:
        folders: Run directories, at least one.
        objectives: Names of two to four objectives. Default: those of the runs.
        where: Filter of the students, such as "gap_points < 1".
        epsilon: Differences to ignore on the front, by objective; in its unit, for costs a ratio.
        everything: Whether to list all matching students instead of the front.

    Raises:
        ConfigError: A run is given twice, an objective is unknown, or the filter is invalid.
        RunError: A folder holds no run.
        StudyError: A study cannot be read.
        NoStudentError: No student is fully trained, or none matches.
    """
    condition = None if where is None else parse_filter(where)
    if objectives is not None:
        check_objectives(objectives)
    runs = _open(folders)
    studies = tuple(NamedStudy(name=name, study=run.study) for name, run in runs.items())
    comparison = compare_runs(studies, objectives=objectives, where=condition)
    own = {one.name for one in studies[0].study.objectives}
    as_searched = condition is None and {one.name for one in comparison.objectives} == own
    only = next(iter(runs.values())) if len(runs) == 1 and as_searched else None
    return Listing(
        comparison=comparison,
        students=comparison.students if everything else _thinned(comparison, epsilon or {}),
        where=None if condition is None else condition.text,
        epsilon=epsilon or {},
        front=None if only is None else only.front(),
        decision=None if only is None else only.decision,
    )


def in_own_units(points: Floats, objectives: Sequence[Objective]) -> Floats:
    """Return minimised coordinates [N, M] as values of M objectives in their own units."""
    return np.column_stack([from_coordinates(*pair) for pair in zip(points.T, objectives, strict=True)])


def _open(folders: Sequence[Path]) -> dict[str, Run]:
    """Return the runs by the name of their folder, or by the whole path where two folders share a name."""
    resolved = [folder.resolve() for folder in folders]
    for folder, place in zip(folders, resolved, strict=True):
        if resolved.count(place) > 1:
            raise ConfigError(f"{folder} is given twice; give it once", code="cli.given_twice", field="RUN")
    shared = Counter(place.name for place in resolved)
    return {
        place.name if shared[place.name] == 1 else str(folder): Run(folder)
        for folder, place in zip(folders, resolved, strict=True)
    }


def _thinned(comparison: Comparison, epsilon: Mapping[str, float]) -> pd.DataFrame:
    """Return the front, or, with epsilon, a subset that represents it."""
    front, objectives = comparison.front, comparison.objectives
    if not epsilon:
        return front
    kept = epsilon_front_mask(axes(front, objectives), tolerances(epsilon, objectives))
    return front[kept].reset_index(drop=True)
