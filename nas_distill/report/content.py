"""Everything a report says, as one value; nothing here draws."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from math import nan
from typing import Any

import pandas as pd

from nas_distill.analysis.assistants.choice import AssistantPlan, read_plan
from nas_distill.analysis.front.front import ParetoFront, pareto_front
from nas_distill.analysis.front.picks import Pick, pick_students
from nas_distill.analysis.trials.cells import parse_arguments
from nas_distill.analysis.trials.study_reader import Rejection, read_study
from nas_distill.config import SearchConfig
from nas_distill.data.manifest import DataManifest
from nas_distill.records import TeacherRecord, TrialRecord, TrialStatus
from nas_distill.run_directory.config import read_run_config
from nas_distill.run_directory.files import read_record
from nas_distill.run_directory.layout import RunDirectory

Row = dict[str, Any]
"""A trial with missing numbers as NaN and missing texts as ""; keys as in `frame.COLUMNS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialCounts:
    """Trials by how they ended.

    Attributes:
        planned: Trials that the search was asked to train, those that assistants teach included; where another budget
            was the bound, those that were handed out.
        complete: Trained to full fidelity.
        stopped: Stopped early by a scheduler.
        failed: Ended with an error.
        running: In flight when the study was read.
        rejected: Candidates refused before training; they are not among the planned.
    """

    planned: int
    complete: int
    stopped: int
    failed: int
    running: int
    rejected: int

    def sentence(self) -> str:
        """Returns the counts as text; what did not happen is left out."""
        parts = [f"{self.complete} of {self.planned} trials complete"]
        for name in ("stopped", "failed", "running", "rejected"):
            count = getattr(self, name)
            if count:
                parts.append(f"{count} {name}{' before training' if name == 'rejected' else ''}")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContent:
    """What a report says.

    Attributes:
        name: Of the run's folder.
        config: Of the search.
        data: The images.
        teacher: The fixed network.
        trials: One row per ended trial, by number; columns as in `frame.COLUMNS`.
        front: Of the fully trained students.
        picks: Chosen from the front.
        counts: Trials by how they ended.
        rejections: Candidates refused before training.
        curves: Table of their learning curves.
        confirmations: How the trainings ended by which students were confirmed; empty without any.
        folds: How the trainings of the picks' cross-validation ended; empty without one.
        assistants: Which students were chosen to teach others.
    """

    name: str
    config: SearchConfig
    data: DataManifest
    teacher: TeacherRecord
    trials: pd.DataFrame
    front: ParetoFront
    picks: tuple[Pick, ...]
    counts: TrialCounts
    rejections: tuple[Rejection, ...]
    curves: pd.DataFrame
    confirmations: tuple[TrialRecord, ...] = ()
    folds: tuple[TrialRecord, ...] = ()
    assistants: AssistantPlan = field(default_factory=AssistantPlan)

    def picked_as(self, number: int) -> str:
        """Returns the titles of the rules that chose a trial, or an empty text."""
        return ", ".join(pick.title for pick in self.picks if pick.number == number)


def load_content(run: RunDirectory) -> ReportContent:
    """Returns what the report of a run says; reads the run's records and the study, and no weights.

    Raises:
        RunError: There is no run, or one of its files is missing or damaged.
        StudyError: The study is missing, unreachable or damaged.
    """
    config = read_run_config(run)
    data = read_record(run.data_manifest, DataManifest)
    study = read_study(run)
    front = pareto_front(study.trials, study.objectives, study.teacher)
    picks = pick_students(front, gap_tolerance_points=config.picks.gap_tolerance_points)
    picked = dict.fromkeys(pick.number for pick in picks if pick.number is not None)
    status = study.trials["status"].value_counts()
    assistants = read_plan(run)
    planned = config.budget.most_trials
    distilled = sum(len(one.students) for one in assistants.rounds)
    return ReportContent(
        name=run.path.resolve().name,
        config=config,
        data=data,
        teacher=study.teacher,
        trials=study.trials,
        front=front,
        picks=picks,
        counts=TrialCounts(
            planned=len(study.trials) + study.running if planned is None else planned + distilled,
            complete=int(status.get(TrialStatus.COMPLETE, 0)),
            stopped=int(status.get(TrialStatus.STOPPED, 0)),
            failed=int(status.get(TrialStatus.FAILED, 0)),
            running=study.running,
            rejected=len(study.rejections),
        ),
        rejections=study.rejections,
        curves=study.curves,
        confirmations=run.read_confirmations(),
        folds=tuple(record for number in picked for record in run.read_folds(number, config.picks.folds)),
        assistants=assistants,
    )


def rows(trials: pd.DataFrame) -> list[Row]:
    """Returns the trials as plain Python values, in order."""
    return [
        {
            str(key): ("" if isinstance(trials[key].dtype, pd.StringDtype) else nan) if pd.isna(value) else value
            for key, value in record.items()
        }
        for record in trials.to_dict("records")
    ]


def arguments_text(arguments: str) -> str:
    """Returns a candidate's arguments, given as JSON, as a call has them: "width=8, depths=[1, 2]"."""
    return ", ".join(f"{name}={json.dumps(value)}" for name, value in parse_arguments(arguments).items())
