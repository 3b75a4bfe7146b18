"""Teacher assistants: after the search, students of intermediate size teach smaller ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch

from nas_distill.analysis.assistants.choice import AssistantPlan, read_plan
from nas_distill.callbacks import Progress
from nas_distill.config import SearchConfig
from nas_distill.data.splits import open_split
from nas_distill.errors import TeacherError
from nas_distill.knowledge.layout import OutputStorage
from nas_distill.knowledge.pool import ShardPool
from nas_distill.losses.registry import required_outputs
from nas_distill.models.teacher import load_teacher
from nas_distill.objectives import check_objectives
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.tune import run_tune
from nas_distill.search.driver.driver import SearchDriver
from nas_distill.search.retrain.assistant_plan import Lessons, Repetitions, extended, planned_lessons, write_plan
from nas_distill.search.setup.knowledge import plan_knowledge, store_knowledge
from nas_distill.search.setup.workers import PlanWorkers, WorkerSetup
from nas_distill.search.study.ledger import StudyLedger
from nas_distill.trial.context import teacher_reference

_TASK = "assistants"

MakePool = Callable[[int], ShardPool | None]
"""Returns who shares the asking of the student of that trial."""


class Assistance:
    """Chooses assistants and has them teach, as far as that has not been done.

    Args:
        run: The search's.
        config: How.
        ledger: The study.
        equip: Called when something is left to train.
        make_pool: Likewise.
        progress: Told of everything.

    Attributes:
        new_trials: Trials that have ended in this session.
    """

    def __init__(
        self,
        run: RunDirectory,
        config: SearchConfig,
        ledger: StudyLedger,
        *,
        equip: PlanWorkers,
        make_pool: MakePool,
        progress: Progress,
    ) -> None:
        self._run = run
        self._config = config
        self._ledger = ledger
        self._equip = equip
        self._make_pool = make_pool
        self._progress = progress
        self.new_trials = 0

    def teach(self) -> bool:
        """Goes through the rounds of the plan, one after another, and adds to it until it has all or none is needed.

        What was chosen is kept in `assistants.json` before the first training, and is never chosen anew. The search's
        own trials have ended, and the cluster is connected.

        Returns:
            False when the user ended it early.

        Raises:
            NasDistillError: One of its kinds; what ended is kept.
        """
        while True:
            plan = read_plan(self._run)
            for lessons in planned_lessons(plan, self._ledger):
                if lessons.left and not self._teach_round(lessons):
                    return False
            try:
                following = self._extended(plan)
            except KeyboardInterrupt:
                return False
            if following != plan:
                write_plan(self._run, following)
            if len(following.rounds) == len(plan.rounds):
                if following.stop_reason:
                    self._progress.event(_TASK, following.stop_reason)
                return True
            chosen = following.rounds[-1]
            self._run.log_event("assistant", number=chosen.assistant, students=chosen.students)
            pupils = f"trial{'s' if len(chosen.students) > 1 else ''} {', '.join(map(str, chosen.students))}"
            self._progress.event(
                _TASK, f"trial {chosen.assistant} now teaches what the teacher taught in {pupils}. {chosen.reason}"
            )

    def equip_all(self) -> WorkerSetup:
        """Returns what `equip` does, with the answers of all assistants at the workplace.

        Raises:
            NasDistillError: As `equip`, `load_teacher` and `build_knowledge` raise it.
        """
        return self._equip_for(planned_lessons(read_plan(self._run), self._ledger))

    def _extended(self, plan: AssistantPlan) -> AssistantPlan:
        """Returns the plan with an assistant that can be asked, or with the reason why there is none."""
        unable: set[int] = set()
        while True:
            following = extended(plan, self._run, self._config, self._ledger, unable)
            if len(following.rounds) == len(plan.rounds):
                return following
            lessons = planned_lessons(following, self._ledger)[-1]
            try:
                self._ask(lessons)
            except TeacherError as error:
                unable.add(lessons.assistant)
                self._progress.event("warning", f"trial {lessons.assistant} cannot teach: {error}")
            else:
                return following

    def _teach_round(self, lessons: Lessons) -> bool:
        """Returns False when the user ended it early."""
        driver = SearchDriver(
            self._run,
            self._ledger,
            Repetitions(self._ledger, lessons),
            objectives=check_objectives(self._config.objectives),
            total=len(lessons.students),
            max_failures=self._config.resources.max_failures,
            progress=self._progress,
            assistant=lessons.assistant,
            stopping=None,  # each is compared with what the same student came to under the teacher, at its end
        )
        if driver.unfinished == 0:
            return True  # the last results were on disk, and the study heard of them now
        try:
            workers = self._equip_for([lessons])
            finished = run_tune(driver, workers.config, workers.resources, space_name=self._config.space.name)
        except KeyboardInterrupt:
            return False
        if finished:
            driver.settle()
        self.new_trials += driver.new_trials
        if driver.failure is not None:
            raise driver.failure
        return finished or driver.unfinished == 0

    def _equip_for(self, rounds: Iterable[Lessons]) -> WorkerSetup:
        workers = self._equip()
        knowledge = dict(workers.config.knowledge)
        for lessons in rounds:
            knowledge |= self._ask(lessons)
        return replace(workers, config=workers.config.model_copy(update={"knowledge": knowledge}))

    def _ask(self, lessons: Lessons) -> dict[str, str]:
        """Stores what an assistant says of the views that its students are trained on, or finds it stored."""
        config, run = self._config, self._run
        splits = open_split(config.data, run.path, "train"), open_split(config.data, run.path, "validation")
        manifest = splits[0].manifest
        network = load_teacher(
            teacher_reference(run, lessons.assistant), class_names=manifest.class_names, channels=manifest.channels
        )
        recipes = [student.recipe for student in lessons.students]
        compares_embeddings = any(required_outputs(recipe).embedding for recipe in recipes)
        request = replace(
            plan_knowledge(config.recipe, config.teacher, config.views),
            mixes=tuple({recipe.mix for recipe in recipes}),
            storage=OutputStorage(
                top_k=config.teacher.top_k, embeddings=compares_embeddings and not config.teacher.online
            ),
        )
        folders = store_knowledge(
            network,
            request,
            assistant=lessons.assistant,
            run=run,
            splits=splits,
            progress=self._progress,
            pool=self._make_pool(lessons.assistant),
        )
        del network
        torch.cuda.empty_cache()  # what the driver's allocator keeps, trials on the same GPU would lack
        return folders
