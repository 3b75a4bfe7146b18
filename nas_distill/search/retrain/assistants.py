"""Teacher assistants: after the search, students of intermediate size teach smaller ones.

Ray Tune schedules these trials like those of the search, with a `SearchDriver` and its `FailurePolicy`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from nas_distill.analysis.assistants.choice import AssistantPlan, read_plan
from nas_distill.callbacks import Progress
from nas_distill.config import AssistantsConfig, BudgetConfig, PicksConfig
from nas_distill.errors import TeacherError
from nas_distill.objectives import Objective
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.tune import run_tune
from nas_distill.search.backend.workers import PlanWorkers, WorkerSetup
from nas_distill.search.driver.budget import BudgetWatch
from nas_distill.search.driver.driver import SearchDriver
from nas_distill.search.retrain.assistant_plan import (
    PlannedRound,
    RepeatedTasks,
    extend_plan,
    planned_rounds,
    write_plan,
)
from nas_distill.search.setup.assistant_outputs import StoreOutputs
from nas_distill.search.study.ledger import StudyLedger

_TASK = "assistants"


@dataclass(frozen=True, slots=True, kw_only=True)
class AssistantSettings:
    """Settings of a search that concern its assistants.

    Attributes:
        assistants: How many assistants teach, and which students.
        picks: How students are picked; its tolerance is the default of `assistants.min_gap_points`.
        objectives: Objectives of the search.
        max_failures: How often a trial is scheduled again after its worker died.
    """

    assistants: AssistantsConfig
    picks: PicksConfig
    objectives: tuple[Objective, ...]
    max_failures: int


class AssistantRounds:
    """Chooses assistants and lets them teach; rounds that are finished are kept.

    Args:
        run: The run directory.
        ledger: The study.
        settings: Settings of the search.
        plan_workers: Called when something is left to train.
        store_outputs: Stores the outputs of an assistant.
        progress: Watcher of the work.

    Attributes:
        new_trials: Number of trials that ended in this session.
    """

    def __init__(
        self,
        run: RunDirectory,
        ledger: StudyLedger,
        settings: AssistantSettings,
        *,
        plan_workers: PlanWorkers,
        store_outputs: StoreOutputs,
        progress: Progress,
    ) -> None:
        self._run = run
        self._ledger = ledger
        self._settings = settings
        self._plan_workers = plan_workers
        self._store_outputs = store_outputs
        self._progress = progress
        self.new_trials = 0

    def teach(self) -> bool:
        """Train the rounds of the plan one after another, and extend the plan until no further round is due.

        A choice is written to `assistants.json` before its first training and never changes. The trials of the search
        itself must have ended, and a cluster must be connected.

        Returns:
            False when the user ended it early.

        Raises:
            NasDistillError: The study or the run directory cannot be used, or workers died; finished trials are kept.
        """
        while True:
            plan = read_plan(self._run)
            for planned in planned_rounds(plan, self._ledger):
                if planned.unfinished and not self._teach_round(planned):
                    return False
            try:
                extended = self._extend(plan)
            except KeyboardInterrupt:
                return False
            if extended != plan:
                write_plan(self._run, extended)
            if len(extended.rounds) == len(plan.rounds):
                if extended.stop_reason:
                    self._progress.event(_TASK, extended.stop_reason)
                return True
            self._report_choice(extended)

    def workers(self) -> WorkerSetup:
        """Return what workers get, the outputs of all assistants included.

        Raises:
            NasDistillError: Workers cannot be planned, or an assistant's outputs cannot be stored.
        """
        rounds = planned_rounds(read_plan(self._run), self._ledger)
        return with_assistant_outputs(self._plan_workers(), rounds, self._store_outputs)

    def _report_choice(self, plan: AssistantPlan) -> None:
        chosen = plan.rounds[-1]
        self._run.log_event("assistant", number=chosen.assistant, students=chosen.students)
        students = f"trial{'s' if len(chosen.students) > 1 else ''} {', '.join(map(str, chosen.students))}"
        self._progress.event(_TASK, f"trial {chosen.assistant} teaches the students of {students}. {chosen.reason}")

    def _extend(self, plan: AssistantPlan) -> AssistantPlan:
        """Return the plan with an assistant whose outputs are stored, or with the reason why there is none."""
        assistants, picks = self._settings.assistants, self._settings.picks
        cannot_teach: set[int] = set()
        while True:
            extended = extend_plan(plan, self._run, self._ledger, assistants, picks, cannot_teach=cannot_teach)
            if len(extended.rounds) == len(plan.rounds):
                return extended
            chosen = planned_rounds(extended, self._ledger)[-1]
            try:
                self._store_outputs(chosen.assistant, chosen.recipes)
            except TeacherError as error:
                cannot_teach.add(chosen.assistant)
                self._progress.event("warning", f"trial {chosen.assistant} cannot teach: {error}")
            else:
                return extended

    def _teach_round(self, planned: PlannedRound) -> bool:
        """Train one round; returns False when the user ended it early."""
        driver = SearchDriver(
            self._run,
            self._ledger,
            RepeatedTasks(self._ledger, planned),
            objectives=self._settings.objectives,
            watch=BudgetWatch(BudgetConfig(trials=len(planned.students))),
            max_failures=self._settings.max_failures,
            progress=self._progress,
            assistant=planned.assistant,
            stopping=None,  # each student is compared with its fully trained self under the teacher
        )
        if driver.unfinished == 0:
            return True  # the last results were on disk, and the driver has just added them to the study
        try:
            setup = with_assistant_outputs(self._plan_workers(), [planned], self._store_outputs)
            finished = run_tune(driver, setup)
        except KeyboardInterrupt:
            return False
        if finished:
            driver.settle()
        self.new_trials += driver.new_trials
        if driver.failure is not None:
            raise driver.failure
        return finished or driver.unfinished == 0


def with_assistant_outputs(
    setup: WorkerSetup, rounds: Iterable[PlannedRound], store_outputs: StoreOutputs
) -> WorkerSetup:
    """Return what workers get, with the stored outputs of the assistants of `rounds` added.

    Raises:
        NasDistillError: An assistant's outputs cannot be stored.
    """
    knowledge = dict(setup.config.knowledge)
    for planned in rounds:
        knowledge |= store_outputs(planned.assistant, planned.recipes)
    return replace(setup, config=setup.config.model_copy(update={"knowledge": knowledge}))
