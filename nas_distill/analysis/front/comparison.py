"""Compare runs: their fronts, their joint front, and how far each falls short of the others."""

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
from nas_distill.analysis.front.attainment import LEVELS, MAX_OBJECTIVES, AttainmentSurface, attainment_surfaces
from nas_distill.analysis.front.epsilon import epsilon_indicator
from nas_distill.analysis.front.named_studies import NamedStudy, differences, shortcomings
from nas_distill.analysis.trials.filters import Filter
from nas_distill.errors import ConfigError, NoStudentError
from nas_distill.objectives import Objective, check_objectives
from nas_distill.records import TrialStatus

MIN_FOR_ATTAINMENT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """The counts and the hypervolume of one run.

    Attributes:
        name: Name of the run.
        complete: Number of students trained to full fidelity.
        stopped: Number of trials stopped early.
        failed: Number of trials that ended with an error.
        running: Number of running trials.
        rejected: Number of candidates rejected before training.
        matching: Number of complete students that match the filter.
        front: Number of those that no other student of the run dominates.
        on_joint_front: Number of those that no student of any run dominates.
        hypervolume: Hypervolume of its front within the common reference, in the product of the axes' units; costs
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
    """R runs side by side.

    Attributes:
        objectives: M objectives.
        runs: One summary per run, in the order given.
        students: Complete students that match the filter, cheapest first (by the first cost objective). Columns: `run`,
            those of `columns.COLUMNS`, and `on_front`: whether no student of any run dominates it.
        reference: Common reference point of the hypervolumes [M], in the objectives' own units: the worst of the runs'
            (see `arithmetic.reference_point`).
        hypervolume: Hypervolume of the joint front.
        epsilon: Additive epsilon indicators [R, R] of row against column, on axes scaled to [0, 1] over all fronts: the
            share of the axes by which the row's front falls short of the column's; 0 if it is nowhere behind. NaN for
            a run without a front; None for a single run.
        surfaces: Attainment surfaces over the runs; empty for fewer than three runs and for four objectives.
        notes: Sentences on what makes numbers incomparable.
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
        """The students of the joint front, cheapest first."""
        return self.students[self.students["on_front"]].reset_index(drop=True)


def compare_runs(
    studies: Sequence[NamedStudy],
    *,
    objectives: Sequence[str] | None = None,
    where: Filter | None = None,
    levels: Sequence[float] = LEVELS,
) -> Comparison:
    """Compare one or more runs.

    Args:
        studies: Studies to compare, at least one.
        objectives: Names of the objectives to compare by. Default: the runs' own, if they are the same.
        where: Filter. Students that do not match count only in the numbers of trials.
        levels: Levels of the attainment surfaces, percent of the runs.

    Raises:
        ConfigError: The runs' objectives differ and none are given; the given ones are not a trade-off; or an objective
            or a column of the filter was not recorded.
        NoStudentError: No run has a fully trained student, or none matches.
    """
    chosen = _common_objectives(studies) if objectives is None else check_objectives(objectives)
    students = _cheapest_first(_matching(studies, where), studies, chosen)
    values = axes(students, chosen)
    for column, objective in enumerate(chosen):
        if np.isnan(values[:, column]).all():
            raise ConfigError(
                f"'{objective.name}' was recorded for none of the {len(students)} students; choose other objectives",
                code="analysis.objective_not_recorded",
                field="--objectives",
            )
    students["on_front"] = non_dominated_mask(values)
    reference, bound = _common_reference(studies, chosen)
    own = {one.name: values[(students["run"] == one.name).to_numpy()] for one in studies}
    fronts = {name: part[non_dominated_mask(part)] for name, part in own.items()}
    on_joint_front = students.loc[students["on_front"], "run"].value_counts()
    notes = [*differences(studies), *shortcomings(studies, students, values, chosen)]
    surfaces: tuple[AttainmentSurface, ...] = ()
    if len(studies) >= MIN_FOR_ATTAINMENT:
        if len(chosen) <= MAX_OBJECTIVES:
            surfaces = attainment_surfaces(list(fronts.values()), levels)
        else:
            notes.append(f"attainment is available for two and three objectives, not for {len(chosen)}")
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
                f"the objectives of {first.name} are {texts[0]} and those of {other.name} are {texts[1]}; choose the "
                f"objectives to compare by, such as --objectives {texts[0]}",
                code="analysis.objectives_differ",
                field="--objectives",
            )
    return first.study.objectives


def _matching(studies: Sequence[NamedStudy], where: Filter | None) -> pd.DataFrame:
    """Return the complete students that match, with the column `run`.

    Raises:
        NoStudentError: There is none.
    """
    parts = [(one.name, one.complete) for one in studies if len(one.complete)]
    if not parts:
        ends = ", ".join(f"{one.name}: {one.ends}" for one in studies)
        raise NoStudentError(
            f"no student was trained to the end ({ends}); `nas_distill report` lists the trials and their errors",
            code="analysis.no_student",
        )
    students = pd.concat([part.assign(run=name) for name, part in parts], ignore_index=True)
    students = students[["run", *students.columns.drop("run")]]
    if where is not None:
        kept = students[where.mask(students)].reset_index(drop=True)
        if kept.empty:
            raise NoStudentError(
                f"none of the {len(students)} fully trained students matches '{where.text}'; relax the condition",
                code="analysis.no_match",
                field=where.origin,
            )
        students = kept
    return students


def _cheapest_first(
    students: pd.DataFrame, studies: Sequence[NamedStudy], objectives: Sequence[Objective]
) -> pd.DataFrame:
    cost = next(objective.name for objective in objectives if objective.kind == "cost")
    order = {one.name: index for index, one in enumerate(studies)}
    ordered = students.assign(order=students["run"].map(order)).sort_values([cost, "order", "number"])
    return ordered.drop(columns="order").reset_index(drop=True)


def _common_reference(
    studies: Sequence[NamedStudy], objectives: Sequence[Objective]
) -> tuple[tuple[float, ...], list[float]]:
    """Return the worst reference point of the runs, in the objectives' own units and as minimised coordinates."""
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
    """Return the epsilon indicators of each front (row) against each (column), on axes scaled over all of them."""
    points = np.concatenate(fronts)
    span = np.ptp(points, axis=0)
    scaled = [front / np.where(span > 0.0, span, 1.0) for front in fronts]  # differences do not depend on an offset
    behind = [[epsilon_indicator(a, b) if len(a) and len(b) else np.nan for b in scaled] for a in scaled]
    return np.maximum(behind, 0.0)  # the indicator of a front that is ahead everywhere is negative
