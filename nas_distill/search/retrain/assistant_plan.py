"""Chooses which students teach which others, based on the study, and keeps the plan in the run directory. No Ray."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace

from nas_distill.analysis.assistants.choice import AssistantPlan, AssistantRound, Student, choose_assistant, read_plan
from nas_distill.analysis.run import Run
from nas_distill.config import AssistantsConfig, PicksConfig
from nas_distill.errors import RunError
from nas_distill.losses.registry import uses_teacher_head
from nas_distill.records import Recipe, TrialRecord
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.files import write_record
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.setup.validate import can_assist
from nas_distill.search.study.ledger import StudyLedger


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRound:
    """One round of an assistant, with the tasks of its students.

    Attributes:
        assistant: Number of the trial whose student teaches.
        students: Tasks of the trials in which the teacher taught the same students.
        ended: Number of students whose training by the assistant has ended.
    """

    assistant: int
    students: tuple[TrialTask, ...]
    ended: int

    @property
    def unfinished(self) -> bool:
        """Whether the training of a student has not ended."""
        return self.ended < len(self.students)

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """Recipes of the students."""
        return tuple(student.recipe for student in self.students)


def planned_rounds(plan: AssistantPlan, ledger: StudyLedger) -> tuple[PlannedRound, ...]:
    """Return the rounds of a plan, in order.

    Raises:
        RunError: The plan belongs to another study.
        StudyError: The study cannot be read.
    """
    if not plan.rounds:
        return ()
    originals = {task.number: task for task in ledger.assigned() if task.assistant is None}
    records = ledger.ended()
    unknown = {number for round_ in plan.rounds for number in round_.students} - set(originals)
    unknown |= {round_.assistant for round_ in plan.rounds} - {one.number for one in records if one.metrics is not None}
    if unknown:
        raise RunError(
            f"names trial {min(unknown)}, which the study does not hold as a complete one; restore the study and the "
            "run directory from the same time",
            code="run.foreign_assistant_plan",
            field="assistants.json",
        )
    ended = [record.assistant for record in records]
    return tuple(
        PlannedRound(
            assistant=round_.assistant,
            students=tuple(originals[number] for number in round_.students),
            ended=ended.count(round_.assistant),
        )
        for round_ in plan.rounds
    )


def has_unfinished_rounds(
    run: RunDirectory, ledger: StudyLedger, assistants: AssistantsConfig, picks: PicksConfig
) -> bool:
    """Return whether assistants have something left to teach after the search's own trials have ended.

    Raises:
        RunError: The plan or the run's teacher cannot be read.
        StudyError: The study cannot be read.
    """
    plan = read_plan(run)
    if any(planned.unfinished for planned in planned_rounds(plan, ledger)):
        return True
    return len(extend_plan(plan, run, ledger, assistants, picks).rounds) > len(plan.rounds)


def extend_plan(
    plan: AssistantPlan,
    run: RunDirectory,
    ledger: StudyLedger,
    assistants: AssistantsConfig,
    picks: PicksConfig,
    *,
    cannot_teach: Container[int] = (),
) -> AssistantPlan:
    """Return the plan with its next assistant, or with the reason why there is none. Nothing is written.

    The first assistant is chosen from the front of the search. Each further one is chosen among the smaller students on
    the front that the rounds before it have left. Students that may be taught are those on the front of the search's
    own trials, so that every gain is a gain over the teacher.

    Args:
        plan: The plan; all its rounds have ended.
        run: The run directory, whose study decides.
        ledger: The same study.
        assistants: How many assistants teach, and which students.
        picks: Its tolerance is the default of `assistants.min_gap_points`.
        cannot_teach: Numbers of trials whose students cannot teach.

    Raises:
        RunError: The run's teacher cannot be read.
        StudyError: The study cannot be read.
    """
    if len(plan.rounds) >= assistants.count:
        return plan.model_copy(update={"stop_reason": ""})
    analysed = Run(run.path)
    records = {record.number: record for record in ledger.ended() if record.metrics is not None}
    learners, teachers = (
        [records[number] for number in analysed.front(assisted=assisted).numbers] for assisted in (False, True)
    )
    parent = records[plan.rounds[-1].assistant].cost if plan.rounds else analysed.teacher.cost
    min_gap_points = picks.gap_tolerance_points if assistants.min_gap_points is None else assistants.min_gap_points
    choice = choose_assistant(
        _with_smallest_gaps([record for record in learners if can_assist(record.recipe)], records.values()),
        [
            _student(record)
            for record in teachers
            if record.number not in cannot_teach and not uses_teacher_head(record.recipe)
        ],
        parent_params=parent.num_params,
        min_gap_points=min_gap_points,
        images=sum(analysed.teacher.class_counts),
        max_students=assistants.students,
    )
    if choice.assistant is None:
        return plan.model_copy(update={"stop_reason": choice.sentence})
    round_ = AssistantRound(assistant=choice.assistant, students=choice.students, reason=choice.sentence)
    return AssistantPlan(rounds=(*plan.rounds, round_))


def write_plan(run: RunDirectory, plan: AssistantPlan) -> None:
    """Write the plan, so that a resumed run continues with the same choice."""
    write_record(run.assistants, plan)


class RepeatedTasks:
    """The tasks of a round: candidate, recipe, seed and epochs are those of the earlier trials (`TaskSource`).

    Args:
        ledger: The study.
        planned: The round.
    """

    def __init__(self, ledger: StudyLedger, planned: PlannedRound) -> None:
        self._ledger = ledger
        self._assistant = planned.assistant
        # Not all assigned tasks: a trial that was ended from outside without a record is in neither list and is
        # trained again.
        known: tuple[TrialTask | TrialRecord, ...] = (*ledger.ended(), *ledger.unfinished())
        begun = {_identity(one) for one in known if one.assistant == planned.assistant}
        self._waiting = [task for task in planned.students if _identity(task) not in begun]
        self.rejected = 0

    def next(self) -> TrialTask:
        """Return the next task, which the study then holds.

        Raises:
            StudyError: The study cannot be used.
        """
        original = self._waiting.pop(0)
        trial = self._ledger.repeat(original.number)
        task = original.model_copy(update={"number": trial.number, "assistant": self._assistant})
        self._ledger.assign(trial, task, {})
        return task


def _identity(trial: TrialTask | TrialRecord) -> tuple[int, str, str]:
    """Return what all trainings of a student have in common; the seed is derived from the number of the first."""
    return trial.seed, trial.spec.spec_id, trial.recipe.digest()


def _with_smallest_gaps(originals: Sequence[TrialRecord], records: Iterable[TrialRecord]) -> list[Student]:
    """Return the students of `originals`, each with the smallest gap of all its trainings."""
    best = {_identity(record): _student(record) for record in originals}
    for record in records:
        student, known = _student(record), best.get(_identity(record))
        if known is not None and student.gap_points < known.gap_points:
            best[_identity(record)] = replace(student, number=known.number)
    return list(best.values())


def _student(record: TrialRecord) -> Student:
    assert record.metrics is not None
    return Student(
        number=record.number,
        num_params=record.cost.num_params,
        gap_points=record.metrics.gap_points,
        agreement=record.metrics.agreement,
    )
