"""All values of a report, without any drawing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan
from typing import Any

import pandas as pd

from nas_distill.analysis.assistants.choice import AssistantPlan, read_plan
from nas_distill.analysis.decision.evidence import Gap, searched_gaps
from nas_distill.analysis.decision.records import Decision
from nas_distill.analysis.front.front import ParetoFront
from nas_distill.analysis.front.picks import Pick
from nas_distill.analysis.run import Run
from nas_distill.analysis.trials.cells import parse_arguments
from nas_distill.analysis.trials.study_reader import Rejection
from nas_distill.config import SearchConfig
from nas_distill.data.manifest import DataManifest
from nas_distill.records import TeacherRecord, TrialRecord, TrialStatus
from nas_distill.records.cost import TargetRecord
from nas_distill.run_directory.files import read_record
from nas_distill.run_directory.layout import RunDirectory

Row = dict[str, Any]
"""A trial by column of `analysis.trials.columns.COLUMNS`; missing numbers are NaN and missing texts are empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSummary:
    """Number of trials by status.

    Attributes:
        planned: Trials of the budget plus those that assistants teach; without a trial budget, the trials started.
        complete: Trials trained for all their epochs.
        stopped: Trials that the scheduler stopped early.
        failed: Trials that ended with an error.
        running: Trials that were running when the study was read.
        damaged: Ended trials whose records are damaged; they are in no table.
        rejected: Candidates rejected before training, which `planned` does not count.
    """

    planned: int
    complete: int
    stopped: int
    failed: int
    running: int
    damaged: int = 0
    rejected: int

    def sentence(self) -> str:
        """Return the counts as text, without those that are zero."""
        parts = [f"{self.complete} of {self.planned} trials complete"]
        for name in ("stopped", "failed", "running", "rejected"):
            count = getattr(self, name)
            if count:
                parts.append(f"{count} {name}{' before training' if name == 'rejected' else ''}")
        if self.damaged:
            parts.append(f"{self.damaged} left out because their records are damaged (`nas_distill repair RUN`)")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContent:
    """The values that a report shows.

    Attributes:
        name: Name of the run's folder.
        config: Configuration of the search.
        data: Description of the images.
        teacher: Record of the teacher.
        trials: Table of the finished trials, sorted by number, with the columns of `analysis.trials.columns.COLUMNS`.
        front: Pareto front of the fully trained students.
        run: Run directory, as commands name it.
        decision: The student to take, the picks, and verdict and remedy of every student.
        gaps: Gap of each fully trained student with its interval, by trial number.
        counts: Number of trials by status.
        rejections: Candidates rejected before training.
        curves: Table of the learning curves.
        confirmations: Records of the trainings that `confirm` ran.
        folds: Records of the cross-validation of the picks.
        assistants: Students chosen as teacher assistants, and their students.
        target: Where latencies come from; None for a search that did not use them.
    """

    name: str
    config: SearchConfig
    data: DataManifest
    teacher: TeacherRecord
    trials: pd.DataFrame
    front: ParetoFront
    run: str
    decision: Decision
    gaps: Mapping[int, Gap]
    counts: TrialSummary
    rejections: tuple[Rejection, ...]
    curves: pd.DataFrame
    confirmations: tuple[TrialRecord, ...] = ()
    folds: tuple[TrialRecord, ...] = ()
    assistants: AssistantPlan = field(default_factory=AssistantPlan)
    target: TargetRecord | None = None

    @property
    def picks(self) -> tuple[Pick, ...]:
        """Students picked from the front, one pick per rule."""
        return self.decision.picks

    def picked_as(self, number: int) -> str:
        """Return the titles of the rules that picked a trial; empty if none did."""
        return ", ".join(pick.title for pick in self.picks if pick.number == number)


def load_content(run: RunDirectory) -> ReportContent:
    """Read the records and the study of a run, but no weights and no images.

    Raises:
        RunError: There is no run, or one of its files is missing or damaged.
        StudyError: The study is missing, unreachable or damaged.
    """
    loaded = Run(run.path)
    config, study, decision = loaded.config, loaded.study, loaded.decision
    data = read_record(run.data_manifest, DataManifest)
    picked = dict.fromkeys(pick.number for pick in decision.picks if pick.number is not None)
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
        front=loaded.front(),
        run=str(run.path),
        decision=decision,
        gaps=searched_gaps(study.trials, decision.images),
        counts=TrialSummary(
            planned=len(study.trials) + study.running if planned is None else planned + distilled,
            complete=int(status.get(TrialStatus.COMPLETE, 0)),
            stopped=int(status.get(TrialStatus.STOPPED, 0)),
            failed=int(status.get(TrialStatus.FAILED, 0)),
            running=study.running,
            damaged=len(study.damaged),
            rejected=len(study.rejections),
        ),
        rejections=study.rejections,
        curves=study.curves,
        confirmations=loaded.confirmations(),
        folds=tuple(record for number in picked for record in run.read_folds(number, config.picks.folds)),
        assistants=assistants,
        target=read_record(run.target, TargetRecord) if run.target.exists() else None,
    )


def rows(trials: pd.DataFrame) -> list[Row]:
    """Return the rows of a table of trials as plain Python values."""
    return [
        {
            str(key): ("" if isinstance(trials[key].dtype, pd.StringDtype) else nan) if pd.isna(value) else value
            for key, value in record.items()
        }
        for record in trials.to_dict("records")
    ]


def arguments_text(arguments: str) -> str:
    """Return the arguments of a candidate, given as JSON, in the form of a call: "width=8, depths=[1, 2]"."""
    return ", ".join(f"{name}={json.dumps(value)}" for name, value in parse_arguments(arguments).items())
