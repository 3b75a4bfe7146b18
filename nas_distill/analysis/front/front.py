"""`ParetoFront`: the Pareto front of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nas_distill.analysis.front.arithmetic import (
    Floats,
    axes,
    coordinates,
    hypervolume,
    non_dominated_mask,
    reference_point,
)
from nas_distill.objectives import Objective
from nas_distill.records import TeacherRecord, TrialStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoFront:
    """The non-dominated students of a study.

    Attributes:
        objectives: M objectives.
        members: Their N rows of the table of trials, cheapest first (by the first cost objective).
        values: Their minimised coordinates [N, M]; costs as log10.
        reference: Reference point of the hypervolume [M], in the objectives' own units (see
            `arithmetic.reference_point`).
        hypervolume: Hypervolume of the members within the reference, in the product of the axes' units; costs count
            in decades.
    """

    objectives: tuple[Objective, ...]
    members: pd.DataFrame
    values: Floats
    reference: tuple[float, ...]
    hypervolume: float

    @property
    def quality(self) -> Objective:
        """The first quality objective."""
        return next(objective for objective in self.objectives if objective.kind == "quality")

    @property
    def cost(self) -> Objective:
        """The first cost objective."""
        return next(objective for objective in self.objectives if objective.kind == "cost")

    @property
    def numbers(self) -> tuple[int, ...]:
        """Trial numbers of the members, cheapest first."""
        return tuple(int(number) for number in self.members["number"])


def pareto_front(trials: pd.DataFrame, objectives: Sequence[Objective], teacher: TeacherRecord) -> ParetoFront:
    """Return the Pareto front of the fully trained students; stopped and failed trials are never on it.

    Use `analysis.run.Run.front`, which knows the run's objectives, unless the trials are not those of a run.

    Args:
        trials: Table of trials; see `StudySnapshot.trials`.
        objectives: M objectives, at least one quality and one cost.
        teacher: Teacher record, which sets the reference point of the hypervolume.
    """
    complete = trials[trials["status"] == TrialStatus.COMPLETE]
    members = complete[non_dominated_mask(axes(complete, objectives))]
    first_cost = next(objective.name for objective in objectives if objective.kind == "cost")
    members = members.sort_values([first_cost, "number"], ignore_index=True)
    values = axes(members, objectives)
    reference = reference_point(teacher, objectives)
    bound = [
        float(coordinates(np.array([limit]), objective)[0])
        for limit, objective in zip(reference, objectives, strict=True)
    ]
    return ParetoFront(
        objectives=tuple(objectives),
        members=members,
        values=values,
        reference=reference,
        hypervolume=hypervolume(values, bound),
    )
