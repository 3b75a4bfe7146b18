"""`Run`: the results of a run, for notebooks and scripts. `nas_distill.load_run` returns one.

The front and the decision of a run are computed here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from nas_distill.analysis.confirm.students import confirmed_students
from nas_distill.analysis.confirm.summary import Confirmed, confirmations
from nas_distill.analysis.decision.decide import decide
from nas_distill.analysis.decision.records import Decision
from nas_distill.analysis.front.front import ParetoFront, pareto_front
from nas_distill.analysis.front.picks import Picks, pick_students, trial_of
from nas_distill.analysis.law.api import fit_capacity_law
from nas_distill.analysis.law.model import CapacityLaw
from nas_distill.analysis.law.wording import SizeName, Subject
from nas_distill.analysis.trials.study_reader import StudySnapshot, read_study
from nas_distill.config import SearchConfig
from nas_distill.errors import ConfigError, NasDistillError
from nas_distill.objectives import check_objectives
from nas_distill.records import EpochMetrics, TeacherRecord, TrialRecord
from nas_distill.run_directory.config import read_run_config
from nas_distill.run_directory.layout import RunDirectory

if TYPE_CHECKING:
    from nas_distill.analysis.effects.effects import Effects
    from nas_distill.inference.classifier import Classifier


class Run:
    """The results of a run, read from its records. Only `load_student` needs torch and weights; nothing needs Ray.

    The study is read once, when it is first needed. Load the run again to see trials that ended later.

    Args:
        path: Run directory.

    Attributes:
        path: Run directory.
        config: Configuration of the search.

    Raises:
        RunError: There is no run, or its configuration cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._directory = RunDirectory(self.path).existing()
        self.config: SearchConfig = read_run_config(self._directory)

    def __repr__(self) -> str:
        try:
            trials, members = self.study.trials, len(self.front().members)
        except NasDistillError:  # a damaged run must still be printable
            return f"Run({str(self.path)!r})"
        counts = ", ".join(f"{count} {status}" for status, count in trials["status"].value_counts().items())
        return f"Run({str(self.path)!r}: {len(trials)} trials ({counts}), {members} on the front)"

    @property
    def trials(self) -> pd.DataFrame:
        """One row per ended trial, a copy; see `analysis.trials.columns.COLUMNS` for the columns."""
        return self.study.trials.copy()

    @property
    def curves(self) -> pd.DataFrame:
        """One row per trained epoch, by `number` and `epoch`; a copy."""
        return self.study.curves.copy()

    @property
    def teacher(self) -> TeacherRecord:
        """Record of the teacher."""
        return self.study.teacher

    @cached_property
    def study(self) -> StudySnapshot:
        """The study as it was when it was first read."""
        return read_study(self._directory)

    def front(self, objectives: Sequence[str] | None = None, *, assisted: bool = True) -> ParetoFront:
        """Return the Pareto front of the fully trained students.

        Args:
            objectives: Two to four names of objectives. Default: those of the search.
            assisted: Include students that an assistant taught.

        Raises:
            ConfigError: A name is unknown, or the objectives are not a trade-off of quality and cost.
        """
        if objectives is None and assisted:
            return self._front
        chosen = self.study.objectives if objectives is None else check_objectives(objectives)
        trials = self.study.trials
        return pareto_front(trials if assisted else trials[trials["assistant"].isna()], chosen, self.teacher)

    @cached_property
    def _front(self) -> ParetoFront:
        return pareto_front(self.study.trials, self.study.objectives, self.teacher)

    @cached_property
    def decision(self) -> Decision:
        """The student to take, the picks, and verdict and remedy of every student.

        Raises:
            RunError: The record of a confirmation is damaged.
        """
        records, trials = self.confirmations(), self.study.trials
        by_folds = {0 if record.fold is None else record.fold.of for record in records}
        repeated = [
            one
            for folds in sorted(by_folds)
            for one in confirmed_students(
                [record for record in records if (0 if record.fold is None else record.fold.of) == folds], trials
            )
        ]
        return decide(
            self.study, self.front(), gap_tolerance_points=self.config.picks.gap_tolerance_points, run=str(self.path),
            settings=self.config.diagnosis, confirmed=repeated,
        )  # fmt: skip

    @property
    def picks(self) -> Picks:
        """The recommended students, one per rule; index by rule name, such as `run.picks["knee"]`."""
        return Picks(self.decision.picks)

    def picks_within(self, gap_tolerance_points: float) -> Picks:
        """Return the recommended students for another gap tolerance than the run's own.

        Args:
            gap_tolerance_points: Largest acceptable gap to the teacher, percentage points; may be negative.

        Raises:
            ConfigError: The tolerance is not a finite number.
        """
        given: object = gap_tolerance_points
        if not isinstance(given, int | float) or not math.isfinite(given):
            raise ConfigError(
                f"{gap_tolerance_points!r} is not a finite number; give percentage points, such as 2.0",
                code="analysis.gap_tolerance_not_a_number",
                field="gap_tolerance_points",
            )
        images = sum(self.teacher.class_counts)
        return Picks(pick_students(self.front(), gap_tolerance_points=gap_tolerance_points, images=images))

    def trial_number(self, pick: str | int) -> int:
        """Return the number of the trial that a pick rule chose; a trial number stands for itself.

        Args:
            pick: Name of a pick rule, its beginning ("smallest"), or a trial number.

        Raises:
            ConfigError: No rule has this name.
            NoStudentError: The rule chooses no student.
        """
        is_number = isinstance(pick, int) or pick.strip().isdecimal()
        return trial_of(pick, Picks(()) if is_number else self.picks)

    def load_student(self, pick: str | int = "knee") -> Classifier:
        """Return a student with its weights, ready to classify images. Needs torch.

        Args:
            pick: Name of a pick rule, its beginning ("smallest"), or a trial number.

        Raises:
            ConfigError: No rule has this name.
            NoStudentError: The rule chooses no student.
            RunError: The trial has no student, or its weights are missing or damaged.
        """
        from nas_distill.inference.student import load_student  # the other methods need no torch

        return load_student(self.path, self.trial_number(pick))

    def diagnose(self) -> pd.DataFrame:
        """Return one row per student: `number`, `verdict`, `action`, `remedy`, `command` and `evidence`.

        `remedy` is a sentence, `command` the command that does it or None, `evidence` a tuple of sentences; `action` is
        defined by `analysis.decision.records.Action`.
        """
        columns = ("number", "verdict", "action", "remedy", "command", "evidence")
        rows = [
            (one.number, one.verdict, one.remedy.action, one.remedy.sentence, one.remedy.command, one.evidence)
            for one in self.decision.verdicts
        ]
        return pd.DataFrame(rows, columns=list(columns))

    def capacity_law(self, size: SizeName = "num_params", *, of: Subject = "typical", seed: int = 0) -> CapacityLaw:
        """Fit the gap as a power law of the size.

        Args:
            size: Column that is the size.
            of: Whether the law describes the typical student of a size or the best tenth.
            seed: Seed of the bootstrap.

        Raises:
            LawError: The students do not allow a law.
            ConfigError: `size` or `of` is unknown.
        """
        return fit_capacity_law(self.study.trials, size=size, of=of, seed=seed)

    def effects(self, *, seed: int = 0) -> Effects:
        """Return which parameters of architecture and recipe are associated with the gap at equal size.

        Args:
            seed: Seed of folds, forests, shuffles and bootstrap.
        """
        # Imported here because scikit-learn takes a second to import, and only this method needs it.
        from nas_distill.analysis.effects.effects import parameter_effects

        return parameter_effects(self.study.trials, seed=seed)

    def confirmations(self) -> tuple[TrialRecord, ...]:
        """Return the records of all trainings of `nas_distill confirm`.

        Raises:
            RunError: A record is damaged.
        """
        return self._directory.read_confirmations()

    def confirmed(self, *, in_folds: bool = False) -> Confirmed | None:
        """Return the results of the confirmed students; None before any training has ended.

        Args:
            in_folds: Return the students scored on folds instead of those scored on the test split. If there are
                several numbers of folds, the largest is used.

        Raises:
            RunError: A record is damaged.
        """
        found = confirmations(
            self.confirmations(),
            self.study.trials,
            self.study.objectives,
            gap_tolerance_points=self.config.picks.gap_tolerance_points,
        )
        return next((one for one in reversed(found) if one.in_folds == in_folds), None)

    def running_curve(self, number: int) -> tuple[EpochMetrics, ...] | None:
        """Return the learning curve so far of a running trial; None if the trial has no folder.

        Args:
            number: Trial number.

        Raises:
            RunError: The curve is damaged.
        """
        folder = self._directory.trial(number)
        return folder.read_curve() if folder.path.is_dir() else None
