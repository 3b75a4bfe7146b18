"""Studies with names, for comparisons, and sentences on what makes their numbers incomparable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nas_distill.analysis.formatting import percent
from nas_distill.analysis.front.arithmetic import Floats, known_rows
from nas_distill.objectives import Objective
from nas_distill.records import TrialStatus

if TYPE_CHECKING:
    from nas_distill.analysis.trials.study_reader import StudySnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedStudy:
    """A run's study and its name, which is unique in a comparison."""

    name: str
    study: StudySnapshot

    @property
    def complete(self) -> pd.DataFrame:
        """Rows of the students trained to full fidelity."""
        return self.study.trials[self.study.trials["status"] == TrialStatus.COMPLETE]

    @property
    def ends(self) -> str:
        """Numbers of trials by status, such as "3 failed, 1 running"."""
        counts = self.study.trials["status"].value_counts()
        parts = [f"{counts[status]} {status}" for status in TrialStatus if status in counts]
        parts += [f"{self.study.running} running"] if self.study.running else []
        parts += [f"{len(self.study.rejections)} rejected"] if self.study.rejections else []
        return ", ".join(parts) or "no trial"


def differences(studies: Sequence[NamedStudy]) -> list[str]:
    """Return sentences on how the runs' teachers and data differ; empty if all numbers are comparable."""
    notes = []
    teachers = [(one.name, one.study.teacher) for one in studies]
    if len({teacher.weights_sha256 for _, teacher in teachers}) > 1:
        texts = ", ".join(f"{name}: {teacher.architecture} at {percent(teacher.top1)}" for name, teacher in teachers)
        notes.append(f"the teachers differ ({texts}), so gaps and hypervolumes are not comparable")
    if len({teacher.data_id for _, teacher in teachers}) > 1:
        texts = ", ".join(f"{name}: {teacher.data_id}" for name, teacher in teachers)
        notes.append(f"the images or their splits differ ({texts}), so qualities are not comparable")
    return notes


def shortcomings(
    studies: Sequence[NamedStudy], students: pd.DataFrame, values: Floats, objectives: Sequence[Objective]
) -> list[str]:
    """Return sentences on runs without a student, and on students with missing objectives.

    Args:
        studies: The runs.
        students: N rows of compared students, with the column `run`.
        values: Their minimised coordinates [N, M].
        objectives: M objectives.
    """
    present = set(students["run"])
    notes = []
    for one in studies:
        if one.name not in present:
            reason = "matches the filter" if len(one.complete) else f"was trained to the end ({one.ends})"
            notes.append(f"{one.name}: no student {reason}")
    lacking = len(values) - len(known_rows(values))
    if lacking:
        names = [one.name for one, column in zip(objectives, values.T, strict=True) if np.isnan(column).any()]
        notes.append(
            f"{lacking} of {len(values)} students have no value of {' or '.join(names)} and cannot be on a front"
        )
    return notes
