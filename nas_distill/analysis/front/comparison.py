"""One run or several, side by side: their fronts, the front of all together, and how far each falls short."""

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
from nas_distill.analysis.front.attainment import LEVELS, MOST_OBJECTIVES, AttainmentSurface, attainment_surfaces
from nas_distill.analysis.front.epsilon import epsilon_indicator
from nas_distill.analysis.front.named_studies import NamedStudy, differences, shortcomings
from nas_distill.analysis.trials.filters import Filter
from nas_distill.errors import ConfigError, NoStudentError
from nas_distill.objectives import Objective, check_objectives
from nas_distill.records import TrialStatus

LEAST_FOR_ATTAINMENT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What one run brings.

    Attributes:
        name: Of the run.
        complete: Students trained to full fidelity.
        stopped: Trials stopped early.
        failed: Trials that ended with an error.
        running: Trials in flight.
        rejected: Candidates refused before training.
        matching: Complete students that match the filter.
        front: How many of those no other of the run dominates.
        on_joint_front: How many of those none of any run dominates.
        hypervolume: That its front dominates within the common reference, in the product of the axes' units; costs
            count in decades.
    """

    name: str
    complete: int
    stopped: int
    failed: int
    running: int
    rejected: int
    matching: int
    front: int
    on_joint_front: int
    hypervolume: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """R runs side by side; one run is compared with nobody.

    Attributes:
        objectives: M objectives.
        runs: As they were given.
        students: Complete students that match the filter, cheapest first (by the first cost objective): columns `run`,
            those of `rows.COLUMNS`, and `on_front`, whether no student of any run dominates it.
        reference: Common bound of the hypervolumes [M], in the objectives' own units: the worst of the runs' (see
            `pareto.reference_point`).
        hypervolume: Of the joint front.
        epsilon: Additive epsilon indicators [R, R], row against column, on axes scaled to [0, 1] over all the runs'
            fronts: the share of the axes by which the row's front falls short of the column's, 0 where it is nowhere
            behind. NaN for a run without a front; None for one run.
        surfaces: Attainment over the runs; empty for fewer than three, and for four objectives.
        notes: What keeps numbers from comparing, one sentence each.
    """

    objectives: tuple[Objective, ...]
    runs: tuple[RunSummary, ...]
    students: pd.DataFrame
    reference: tuple[float, ...]
    hypervolume: float
    epsilon: Floats | None
    surfaces: tuple[AttainmentSurface, ...]
    notes: tuple[str, ...]

    @property
    def front(self) -> pd.DataFrame:
        """The students that no student of any run dominates, cheapest first."""
        return self.students[self.students["on_front"]].reset_index(drop=True)


def compare_runs(
    studies: Sequence[NamedStudy],
    *,
    objectives: Sequence[str] | None = None,
    where: Filter | None = None,
    levels: Sequence[float] = LEVELS,
) -> Comparison:
    """Returns the runs side by side.

    Args:
        studies: At least one.
        objectives: Names to compare by; None for the runs' own, which must then be the same.
        where: Students that do not match are left out of everything but the counts of trials.
        levels: Of the attainment surfaces, percent of the runs.

    Raises:
        ConfigError: The runs' objectives differ and none are given, those given are no trade-off or not recorded, or
            the filter asks about a column that is not.
        NoStudentError: No run has a fully trained student, or none matches.
    """
    chosen = _common_objectives(studies) if objectives is None else check_objectives(objectives)
    students = _cheapest_first(_matching(studies, where), studies, chosen)
    values = axes(students, chosen)
    for column, objective in enumerate(chosen):
        if np.isnan(values[:, column]).all():
            raise ConfigError(
                f"--objectives: '{objective.name}' is recorded for none of the {len(students)} students; "
                "compare by other objectives"
            )
    students["on_front"] = non_dominated_mask(values)
    reference, bound = _common_reference(studies, chosen)
    own = {one.name: values[(students["run"] == one.name).to_numpy()] for one in studies}
    fronts = {name: part[non_dominated_mask(part)] for name, part in own.items()}
    on_joint_front = students.loc[students["on_front"], "run"].value_counts()
    notes = [*differences(studies), *shortcomings(studies, students, values, chosen)]
    surfaces: tuple[AttainmentSurface, ...] = ()
    if len(studies) >= LEAST_FOR_ATTAINMENT:
        if len(chosen) <= MOST_OBJECTIVES:
            surfaces = attainment_surfaces(list(fronts.values()), levels)
        else:
            notes.append(f"attainment is computed for two and three objectives, not for {len(chosen)}")
    return Comparison(
        objectives=chosen,
        runs=tuple(
            _summary(one, len(own[one.name]), fronts[one.name], int(on_joint_front.get(one.name, 0)), bound)
            for one in studies
        ),
        students=students,
        reference=reference,
        hypervolume=hypervolume(values, bound),
        epsilon=_epsilon_indicators(list(fronts.values())) if len(studies) > 1 else None,
        surfaces=surfaces,
        notes=tuple(notes),
    )


def _common_objectives(studies: Sequence[NamedStudy]) -> tuple[Objective, ...]:
    first = studies[0]
    for other in studies[1:]:
        if set(other.study.objectives) != set(first.study.objectives):
            texts = [",".join(objective.name for objective in one.study.objectives) for one in (first, other)]
            raise ConfigError(
                f"--objectives: {first.name} searched by {texts[0]} and {other.name} by {texts[1]}; "
                f"say what to compare them by, such as --objectives {texts[0]}"
            )
    return first.study.objectives


def _matching(studies: Sequence[NamedStudy], where: Filter | None) -> pd.DataFrame:
    """Returns the complete students that match, with the column `run`; at least one."""
    parts = [(one.name, one.complete) for one in studies if len(one.complete)]
    if not parts:
        ends = ", ".join(f"{one.name}: {one.ends}" for one in studies)
        raise NoStudentError(
            f"{ends}; no student was trained to the end, `nas_distill report` lists the trials and their errors"
        )
    students = pd.concat([part.assign(run=name) for name, part in parts], ignore_index=True)
    students = students[["run", *students.columns.drop("run")]]
    if where is not None:
        kept = students[where.mask(students)].reset_index(drop=True)
        if kept.empty:
            raise NoStudentError(
                f"{where.origin}: none of the {len(students)} fully trained students matches '{where.text}'; loosen it"
            )
        students = kept
    return students


def _cheapest_first(
    students: pd.DataFrame, studies: Sequence[NamedStudy], objectives: Sequence[Objective]
) -> pd.DataFrame:
    cost = next(objective.name for objective in objectives if objective.kind == "cost")
    place = {one.name: place for place, one in enumerate(studies)}
    ordered = students.assign(place=students["run"].map(place)).sort_values([cost, "place", "number"])
    return ordered.drop(columns="place").reset_index(drop=True)


def _common_reference(
    studies: Sequence[NamedStudy], objectives: Sequence[Objective]
) -> tuple[tuple[float, ...], list[float]]:
    """Returns the worst reference point of the runs, in the objectives' own units and as minimised coordinates."""
    points = np.array([reference_point(one.study.teacher, objectives) for one in studies])
    minimised = np.column_stack(
        [coordinates(points[:, column], objective) for column, objective in enumerate(objectives)]
    )
    worst = minimised.argmax(axis=0)
    columns = range(len(objectives))
    return tuple(float(points[worst[column], column]) for column in columns), [*minimised.max(axis=0)]


def _summary(one: NamedStudy, matching: int, front: Floats, on_joint_front: int, bound: Sequence[float]) -> RunSummary:
    counts = one.study.trials["status"].value_counts()
    return RunSummary(
        name=one.name,
        complete=int(counts.get(TrialStatus.COMPLETE, 0)),
        stopped=int(counts.get(TrialStatus.STOPPED, 0)),
        failed=int(counts.get(TrialStatus.FAILED, 0)),
        running=one.study.running,
        rejected=len(one.study.rejections),
        matching=matching,
        front=len(front),
        on_joint_front=on_joint_front,
        hypervolume=hypervolume(front, bound),
    )


def _epsilon_indicators(fronts: Sequence[Floats]) -> Floats:
    """Returns the indicator of each front (row) against each (column), on axes scaled to [0, 1] over all of them."""
    points = np.concatenate(fronts)
    span = np.ptp(points, axis=0)
    scaled = [front / np.where(span > 0.0, span, 1.0) for front in fronts]  # where [0, 1] begins makes no difference
    behind = [[epsilon_indicator(a, b) if len(a) and len(b) else np.nan for b in scaled] for a in scaled]
    return np.maximum(behind, 0.0)  # a front that is ahead everywhere has a negative one
