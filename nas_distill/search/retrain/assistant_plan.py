"""Which students teach which others, decided from the study and kept in the run directory; without Ray."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace

from nas_distill.analysis.assistants.choice import AssistantPlan, AssistantRound, Student, choose_assistant, read_plan
from nas_distill.analysis.front.front import pareto_front
from nas_distill.analysis.trials.study_reader import read_study
from nas_distill.config import SearchConfig
from nas_distill.errors import RunError
from nas_distill.losses.registry import uses_teacher_head
from nas_distill.records import TrialRecord
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.files import write_record
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.setup.validate import can_assist
from nas_distill.search.study.ledger import StudyLedger


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """One round, with what is left of it.

    Attributes:
        assistant: Number of the trial whose student teaches.
        students: The trials in which the teacher taught them.
        ended: Students of the round whose training by the assistant has ended.
    """

    assistant: int
    students: tuple[TrialTask, ...]
    ended: int

    @property
    def left(self) -> bool:
        """Whether a student is still to be taught."""
        return self.ended < len(self.students)


def planned_lessons(plan: AssistantPlan, ledger: StudyLedger) -> tuple[Lessons, ...]:
    """Returns the plan's rounds, in order.

    Raises:
        RunError: It is of another study.
        StudyError: The study cannot be read.
    """
    if not plan.rounds:
        return ()
    originals = {one.number: one for one in ledger.assigned() if one.assistant is None}
    records = ledger.ended()
    unknown = {number for round_ in plan.rounds for number in round_.students} - set(originals)
    unknown |= {round_.assistant for round_ in plan.rounds} - {one.number for one in records if one.metrics is not None}
    if unknown:
        raise RunError(
            f"assistants.json: names trial {min(unknown)}, which the study does not hold as a complete one; the study "
            "and the run directory do not belong together: restore the one that does"
        )
    ended = [record.assistant for record in records]
    return tuple(
        Lessons(
            assistant=round_.assistant,
            students=tuple(originals[number] for number in round_.students),
            ended=ended.count(round_.assistant),
        )
        for round_ in plan.rounds
    )


def lessons_are_left(run: RunDirectory, config: SearchConfig, ledger: StudyLedger) -> bool:
    """Whether a search whose own trials have ended has students left for assistants to teach.

    Raises:
        RunError, StudyError: The plan or the study cannot be read.
    """
    plan = read_plan(run)
    if any(lessons.left for lessons in planned_lessons(plan, ledger)):
        return True
    return len(extended(plan, run, config, ledger).rounds) > len(plan.rounds)


def extended(
    plan: AssistantPlan,
    run: RunDirectory,
    config: SearchConfig,
    ledger: StudyLedger,
    unable: Container[int] = (),
) -> AssistantPlan:
    """Returns the plan with its next assistant, or with the reason why there is none; nothing is written.

    The first assistant is chosen from the front, each further one among the students on the front, as the assistants
    before it have left it, that are smaller than the one before it. Who may be taught is the front as the search's own
    trials left it, so that every gain is one over the teacher.

    Args:
        plan: All its rounds have ended.
        run: Whose study decides.
        config: How.
        ledger: Of that study.
        unable: Numbers of trials whose students cannot teach.

    Raises:
        RunError, StudyError: The study or the run's teacher cannot be read.
    """
    settings = config.assistants
    if len(plan.rounds) >= settings.count:
        return plan.model_copy(update={"stop_reason": ""})
    study = read_study(run)
    records = {record.number: record for record in ledger.ended() if record.metrics is not None}
    own = study.trials[study.trials["assistant"].isna()]
    pupils, teachers = (
        [records[number] for number in pareto_front(trials, study.objectives, study.teacher).numbers]
        for trials in (own, study.trials)
    )
    parent = records[plan.rounds[-1].assistant].cost if plan.rounds else study.teacher.cost
    tolerance = config.picks.gap_tolerance_points if settings.min_gap_points is None else settings.min_gap_points
    choice = choose_assistant(
        _at_their_best([record for record in pupils if can_assist(record.recipe)], records.values()),
        [_student(one) for one in teachers if one.number not in unable and not uses_teacher_head(one.recipe)],
        parent_params=parent.num_params,
        min_gap_points=tolerance,
        images=sum(study.teacher.class_counts),
        max_students=settings.students,
    )
    if choice.assistant is None:
        return plan.model_copy(update={"stop_reason": choice.sentence})
    round_ = AssistantRound(assistant=choice.assistant, students=choice.students, reason=choice.sentence)
    return AssistantPlan(rounds=(*plan.rounds, round_))


def write_plan(run: RunDirectory, plan: AssistantPlan) -> None:
    """Keeps the plan, so that a resumed run goes on with the same choice."""
    write_record(run.assistants, plan)


class Repetitions:
    """Hands out the trials in which an assistant teaches: candidate, recipe, seed and epochs are the earlier trial's.

    An `TaskSource`.

    Args:
        ledger: The study.
        lessons: Who teaches whom.
    """

    def __init__(self, ledger: StudyLedger, lessons: Lessons) -> None:
        self._ledger = ledger
        self._assistant = lessons.assistant
        # Not what was assigned: a trial that others ended without a record is neither, and is taught again.
        known: tuple[TrialTask | TrialRecord, ...] = (*ledger.ended(), *ledger.unfinished())
        begun = {_identity(one) for one in known if one.assistant == lessons.assistant}
        self._waiting = [one for one in lessons.students if _identity(one) not in begun]
        self.rejected = 0

    def next(self) -> TrialTask:
        """Returns the next assignment, noted in the study.

        Raises:
            RunError, StudyError: The study cannot be used.
        """
        original = self._waiting.pop(0)
        trial = self._ledger.repeat(original.number)
        task = original.model_copy(update={"number": trial.number, "assistant": self._assistant})
        self._ledger.assign(trial, task, {})
        return task


def _identity(trial: TrialTask | TrialRecord) -> tuple[int, str, str]:
    """Returns what the trainings of a student share; the seed comes from the number of the first."""
    return trial.seed, trial.spec.spec_id, trial.recipe.digest()


def _at_their_best(originals: Sequence[TrialRecord], records: Iterable[TrialRecord]) -> list[Student]:
    """Returns the originals, each with the smallest gap of all its trainings."""
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
