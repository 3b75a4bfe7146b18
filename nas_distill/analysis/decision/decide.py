"""Decide which student to take, and what to do about every other, in one pure function."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nas_distill.analysis.confirm.students import ConfirmedStudent
from nas_distill.analysis.decision.evidence import Gap, confirmed_gaps, searched_gaps
from nas_distill.analysis.decision.headline import Choice, choose, write_headline
from nas_distill.analysis.decision.records import Decision, StudentVerdict
from nas_distill.analysis.decision.remedies import Place, remedy_for, stopped_remedy
from nas_distill.analysis.diagnosis.curves import epochs_needed
from nas_distill.analysis.diagnosis.table import diagnose
from nas_distill.analysis.diagnosis.verdicts import Diagnosis
from nas_distill.analysis.front.arithmetic import Floats, axes
from nas_distill.analysis.front.front import ParetoFront
from nas_distill.analysis.front.picks import pick_students
from nas_distill.analysis.trials.study_reader import StudySnapshot
from nas_distill.config import DiagnosisConfig
from nas_distill.records import TeacherRecord


def decide(
    study: StudySnapshot,
    front: ParetoFront,
    *,
    gap_tolerance_points: float,
    run: str,
    settings: DiagnosisConfig | None = None,
    confirmed: Iterable[ConfirmedStudent] = (),
) -> Decision:
    """Return all recommendations of a run.

    The picks go by the search's scores. The headline goes by confirmed scores where there are any. A remedy recommends
    another student of the run only if that one is at least as good in the gap and in every objective, or if this one
    was confirmed and fell behind the headline's. So the remedies never lead out of the tolerance and never in a circle.

    Args:
        study: The study.
        front: Its front under the run's own objectives.
        gap_tolerance_points: Largest acceptable gap to the teacher, percentage points; may be negative.
        run: Run directory, as the user names it in commands.
        settings: Thresholds of the diagnosis. Default: the documented ones.
        confirmed: Confirmed students.
    """
    images = sum(study.teacher.class_counts)
    searched, repeated = searched_gaps(study.trials, images), confirmed_gaps(confirmed)
    gaps = {**searched, **{number: gap for number, gap in repeated.items() if number in searched}}
    choice = choose(front, searched, gaps, gap_tolerance_points)
    found = diagnose(
        study.trials, study.curves, images=images, teacher_epochs=teacher_epochs(study.teacher), settings=settings
    )
    places = _Places(
        run=run, images=images, tolerance=gap_tolerance_points, choice=choice, searched=searched, gaps=gaps,
        values=_minimised(study.trials, front), epochs=_planned_epochs(study.trials),
    )  # fmt: skip
    verdicts = tuple(places.judge(one) for one in found)
    own = next((one.remedy for one in verdicts if one.number == choice.number), None)
    return Decision(
        gap_tolerance_points=gap_tolerance_points,
        images=images,
        headline=write_headline(choice, front, gaps, tolerance=gap_tolerance_points, run=run, remedy=own),
        picks=pick_students(front, gap_tolerance_points=gap_tolerance_points, images=images),
        verdicts=verdicts,
    )


def teacher_epochs(teacher: TeacherRecord) -> int | None:
    """Return the epochs that the teacher needed; None if it was not trained on the images of the run."""
    return epochs_needed(teacher.curve) if teacher.trained_on_data_id == teacher.data_id else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """Places of all students of a run in its decision.

    Attributes:
        run: Run directory.
        images: Number of validation images.
        tolerance: Largest acceptable gap, percentage points.
        choice: The student of the headline.
        searched: The search's own gaps by trial number.
        gaps: Gaps to trust, by trial number.
        values: Minimised objectives and gap of each trial, by number.
        epochs: Planned epochs of each trial, by number.
    """

    run: str
    images: int
    tolerance: float
    choice: Choice
    searched: Mapping[int, Gap]
    gaps: Mapping[int, Gap]
    values: Mapping[int, Floats]
    epochs: Mapping[int, int]

    def judge(self, found: Diagnosis) -> StudentVerdict:
        """Return the verdict with its remedy."""
        is_stopped = found.number not in self.searched
        remedy = stopped_remedy() if is_stopped else remedy_for(found, self._place(found))
        return StudentVerdict(**found.model_dump(), remedy=remedy)

    def _place(self, found: Diagnosis) -> Place:
        return Place(
            run=self.run,
            images=self.images,
            epochs=self.epochs.get(found.number),
            headline=self.choice.number if self.choice.is_within else None,
            superseded=self._is_superseded(found.number),
            rival_dominates=found.rival is not None and self._dominates(found.rival, found.number),
            gaps=self.searched,
            confirmed=frozenset(number for number, gap in self.gaps.items() if gap.is_confirmed),
        )

    def _is_superseded(self, number: int) -> bool:
        """Whether the search put a student within the tolerance, and its confirmed scores do not."""
        outside = self.gaps[number].points > self.tolerance
        return number in self.choice.superseded or (outside and self.searched[number].points <= self.tolerance)

    def _dominates(self, rival: int, number: int) -> bool:
        better, own = self.values[rival], self.values[number]
        if self._is_superseded(rival):
            return False
        return bool((better <= own).all() and (better < own).any())


def _minimised(trials: pd.DataFrame, front: ParetoFront) -> dict[int, Floats]:
    """Return minimised objectives and the gap of each trial, by number."""
    values = np.column_stack(
        [axes(trials, front.objectives), trials["gap_points"].to_numpy(dtype=float, na_value=np.nan)]
    )
    return {int(number): row for number, row in zip(trials["number"], values, strict=True)}


def _planned_epochs(trials: pd.DataFrame) -> dict[int, int]:
    known = trials[trials["planned_epochs"].notna()]
    return dict(zip(known["number"].astype(int), known["planned_epochs"].astype(int), strict=True))
