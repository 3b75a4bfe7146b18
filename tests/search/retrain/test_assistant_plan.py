"""The choice of assistants from a real study, and its bookkeeping; no Ray."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from nas_distill.analysis.assistants.choice import AssistantPlan, AssistantRound, read_plan
from nas_distill.config import AssistantsConfig, SearchConfig
from nas_distill.errors import RunError
from nas_distill.objectives import check_objectives
from nas_distill.records import Recipe, TrialOutcome, TrialRecord, TrialStatus
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.results import end_trial
from nas_distill.search.driver.driver import SearchDriver
from nas_distill.search.retrain.assistant_plan import (
    Repetitions,
    extended,
    lessons_are_left,
    planned_lessons,
    write_plan,
)
from nas_distill.search.study.ledger import StudyLedger
from tests.helpers import Heard
from tests.records.factory import changed_record
from tests.report.factory import make_record, make_run, make_spec

OBJECTIVES = check_objectives(("gap_points", "num_params"))
SIZES = {0: (2_000, 30.0), 1: (10_000, 12.0), 2: (60_000, 6.0), 3: (150_000, 3.0), 4: (600_000, 0.2)}
"""Parameters and gap of the students; trial 5 is beaten by trial 1, so that the front leaves it out."""


def configured(count: int = 1, **changes: object) -> SearchConfig:
    return SearchConfig(assistants=AssistantsConfig(count=count), **changes)  # type: ignore[arg-type]  # as each test gives it


def open_ledger(run: RunDirectory) -> StudyLedger:
    return StudyLedger(run.own_storage, "nas_distill", OBJECTIVES, 0)


def finish(ledger: StudyLedger, run: RunDirectory, records: Sequence[TrialRecord]) -> None:
    """Has the study hear of trials as a search tells them."""
    for record in records:
        trial = ledger.ask()
        trial.suggest_int("width", 1, 64)
        assert trial.number == record.number
        ledger.assign(trial, record.task, {"num_params": -1.0})
        run.trial(record.number).write_record(record)
        ledger.tell(record)


def searched(path: Path, *, count: int = 1) -> tuple[RunDirectory, StudyLedger]:
    """Returns a run whose own trials have ended."""
    run = make_run(path, config=configured(count))
    ledger = open_ledger(run)
    records = [make_record(number, gap_points=gap, num_params=size) for number, (size, gap) in SIZES.items()]
    finish(ledger, run, [*records, make_record(5, gap_points=14.0, num_params=11_000)])
    return run, ledger


def distilled(driver: SearchDriver, run: RunDirectory, gaps: Sequence[float]) -> list[TrialTask]:
    """Does what workers do, with these gaps as the outcome."""
    done = []
    for gap in gaps:
        task = driver.next_task()
        assert task is not None
        record = make_record(task.number, gap_points=gap, num_params=task.cost.num_params, spec=task.spec)
        run.trial(task.number).write_record(changed_record(record, seed=task.seed, assistant=task.assistant))
        driver.trial_ended(task.number, None)
        done.append(task)
    return done


def open_driver(run: RunDirectory, ledger: StudyLedger) -> SearchDriver:
    lessons = planned_lessons(read_plan(run), ledger)[-1]
    return SearchDriver(
        run, ledger, Repetitions(ledger, lessons), objectives=OBJECTIVES, total=len(lessons.students), max_failures=0,
        progress=Heard(), assistant=lessons.assistant,
    )  # fmt: skip


def test_the_front_decides_who_teaches_whom(tmp_path: Path) -> None:
    run, ledger = searched(tmp_path)
    assert lessons_are_left(run, configured(), ledger)
    plan = extended(AssistantPlan(), run, configured(), ledger)
    assert [(one.assistant, one.students) for one in plan.rounds] == [(3, (0, 1, 2))]
    assert not run.assistants.exists()
    write_plan(run, plan)
    assert read_plan(run) == plan
    assert [one.number for one in planned_lessons(plan, ledger)[0].students] == [0, 1, 2]
    ledger.close()


@pytest.mark.parametrize(
    ("settings", "students"),
    [({"students": 1}, (0,)), ({"min_gap_points": 20.0}, (0,)), ({"min_gap_points": 7.0, "students": 5}, (0, 1))],
)
def test_settings_decide_how_many_and_from_which_gap(
    tmp_path: Path, settings: dict[str, float], students: tuple[int, ...]
) -> None:
    run, ledger = searched(tmp_path)
    config = SearchConfig(assistants=AssistantsConfig.model_validate({"count": 1, **settings}))
    (round_,) = extended(AssistantPlan(), run, config, ledger).rounds
    assert round_.students == students
    ledger.close()


def test_no_large_gap_no_assistant(tmp_path: Path) -> None:
    run, ledger = searched(tmp_path)
    config = SearchConfig(assistants=AssistantsConfig(count=1, min_gap_points=50.0))
    plan = extended(AssistantPlan(), run, config, ledger)
    assert plan.rounds == ()
    assert plan.stop_reason.startswith("No assistant is needed: the largest gap is +30.00 points (trial 0)")
    assert not lessons_are_left(run, config, ledger)
    assert not lessons_are_left(run, SearchConfig(), ledger)
    ledger.close()


def test_a_round_repeats_the_trials_as_they_were(tmp_path: Path) -> None:
    run, ledger = searched(tmp_path)
    write_plan(run, extended(AssistantPlan(), run, configured(), ledger))
    driver = open_driver(run, ledger)
    assert driver.remaining == 3
    done = distilled(driver, run, (25.0, 11.0, 6.5))
    assert driver.next_task() is None
    originals = {one.number: one for one in ledger.assigned()}
    for again, number in zip(done, (0, 1, 2), strict=True):
        assert again == originals[number].model_copy(update={"number": again.number, "assistant": 3})
    assert [one.number for one in done] == [6, 7, 8]
    study = optuna.load_study(study_name="nas_distill", storage=run.own_storage)
    for again, number in zip(done, (0, 1, 2), strict=True):
        first, second = study.trials[number], study.trials[again.number]
        assert (second.params, second.distributions, second.constraints) == (
            first.params, first.distributions, first.constraints,
        )  # fmt: skip
        assert second.state is TrialState.COMPLETE
    # The sampler goes on from it.
    trial = ledger.ask()
    assert 1 <= trial.suggest_int("width", 1, 64) <= 64
    ledger.close()


def test_what_was_begun_goes_on_and_what_ended_is_not_taught_again(tmp_path: Path) -> None:
    run, ledger = searched(tmp_path)
    write_plan(run, extended(AssistantPlan(), run, configured(), ledger))
    driver = open_driver(run, ledger)
    distilled(driver, run, (25.0,))
    flying = driver.next_task()  # and the process dies here,
    assert flying is not None
    ledger.repeat(2)  # another one between the trial and its assignment
    ledger.close()

    ledger = open_ledger(run)
    assert lessons_are_left(run, configured(), ledger)
    assert lessons_are_left(run, SearchConfig(), ledger)  # what was begun is ended, whatever is asked for now
    # The search itself has nothing to do with them.
    own = SearchDriver(
        run, ledger, Repetitions(ledger, planned_lessons(read_plan(run), ledger)[0]), objectives=OBJECTIVES, total=6,
        max_failures=0, progress=Heard(),
    )  # fmt: skip
    assert (own.remaining, own.unfinished) == (0, 0)
    driver = open_driver(run, ledger)
    assert driver.remaining == 2
    again, last = distilled(driver, run, (11.0, 6.5))
    assert again == flying
    assert (last.spec, last.assistant) == (make_spec(2), 3)
    assert driver.next_task() is None
    assert not lessons_are_left(run, configured(), ledger)
    assert [record.number for record in ledger.ended() if record.assistant == 3] == [6, 7, 8]
    ledger.close()


def test_a_result_that_the_study_had_not_heard_of_is_booked(tmp_path: Path) -> None:
    run, ledger = searched(tmp_path)
    write_plan(run, extended(AssistantPlan(), run, configured(), ledger))
    driver = open_driver(run, ledger)
    distilled(driver, run, (25.0, 11.0))
    last = driver.next_task()
    assert last is not None
    outcome = TrialOutcome(status=TrialStatus.FAILED, error="NaN")
    end_trial(run.trial(last.number), TrialRecord(task=last, outcome=outcome))
    again = open_driver(run, ledger)
    assert (again.remaining, again.unfinished) == (0, 0)
    assert not lessons_are_left(run, configured(), ledger)
    ledger.close()


def test_the_second_assistant_is_smaller_and_from_the_front_that_the_first_left(tmp_path: Path) -> None:
    run, ledger = searched(tmp_path, count=2)
    write_plan(run, extended(AssistantPlan(), run, configured(2), ledger))
    distilled(open_driver(run, ledger), run, (25.0, 11.0, 4.0))
    assert lessons_are_left(run, configured(2), ledger)
    assert not lessons_are_left(run, configured(1), ledger)
    plan = extended(read_plan(run), run, configured(2), ledger)
    # Trial 8 is trial 2 (60k), taught by trial 3; midway between 150k and the students is 44k.
    assert [(one.assistant, one.students) for one in plan.rounds] == [(3, (0, 1, 2)), (8, (0, 1))]
    write_plan(run, plan)
    distilled(open_driver(run, ledger), run, (24.0, 30.0))
    # Gaps count at their best: trial 1 (10k) was taught best by trial 3, as trial 7.
    following = extended(read_plan(run), run, configured(3), ledger)
    assert [(one.assistant, one.students) for one in following.rounds[2:]] == [(7, (0,))]
    write_plan(run, following)
    distilled(open_driver(run, ledger), run, (26.0,))
    last = extended(read_plan(run), run, configured(4), ledger)
    assert last.rounds == following.rounds
    assert last.stop_reason.startswith("No assistant is available: the gap of trial 0 is large (+24.00 points)")
    ledger.close()


def test_a_student_that_was_taught_worse_does_not_teach_in_its_better_selfs_place(tmp_path: Path) -> None:
    run, ledger = searched(tmp_path, count=2)
    write_plan(run, extended(AssistantPlan(), run, configured(2), ledger))
    distilled(open_driver(run, ledger), run, (25.0, 11.0, 6.5))  # the last, trial 8, had a gap of 6 before, as trial 2
    plan = extended(read_plan(run), run, configured(2), ledger)
    assert [(one.assistant, one.students) for one in plan.rounds[1:]] == [(2, (0, 1))]
    ledger.close()


def test_who_is_unable_is_passed_over(tmp_path: Path) -> None:
    run, ledger = searched(tmp_path)
    plan = extended(AssistantPlan(), run, configured(), ledger, unable={3, 2})
    assert [one.assistant for one in plan.rounds] == [4]
    plan = extended(AssistantPlan(), run, configured(), ledger, unable={1, 2, 3, 4})
    assert plan.stop_reason.startswith("No assistant is available")
    ledger.close()


def test_a_training_that_ended_without_a_record_is_begun_again(tmp_path: Path) -> None:
    run, ledger = searched(tmp_path)
    write_plan(run, extended(AssistantPlan(), run, configured(), ledger))
    driver = open_driver(run, ledger)
    distilled(driver, run, (25.0, 11.0))
    lost = driver.next_task()
    assert lost is not None
    study = optuna.load_study(study_name="nas_distill", storage=run.own_storage)
    study.tell(lost.number, state=TrialState.FAIL)  # by somebody else
    (again,) = distilled(open_driver(run, ledger), run, (6.5,))
    assert again == lost.model_copy(update={"number": again.number})
    assert not lessons_are_left(run, configured(), ledger)
    ledger.close()


def test_a_student_through_the_teachers_classifier_neither_teaches_nor_learns(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    ledger = open_ledger(run)
    through, control = Recipe(losses={"simkd": {}}), Recipe(losses={}, label_weight=1.0)
    records = [
        changed_record(make_record(0, gap_points=30.0, num_params=2_000), recipe=control),
        make_record(1, gap_points=20.0, num_params=4_000),
        changed_record(make_record(2, gap_points=4.0, num_params=100_000), recipe=through),
        changed_record(make_record(3, gap_points=2.0, num_params=400_000), recipe=control),
    ]
    finish(ledger, run, records)
    (round_,) = extended(AssistantPlan(), run, configured(), ledger).rounds
    assert (round_.assistant, round_.students) == (3, (1,))
    ledger.close()


@pytest.mark.parametrize(("assistant", "students"), [(3, (77,)), (77, (0,)), (77, ())])
def test_a_plan_of_another_study_is_refused(tmp_path: Path, assistant: int, students: tuple[int, ...]) -> None:
    run, ledger = searched(tmp_path)
    write_plan(run, AssistantPlan(rounds=(AssistantRound(assistant=assistant, students=students, reason="other"),)))
    with pytest.raises(RunError, match="names trial 77, which the study does not hold"):
        lessons_are_left(run, configured(2), ledger)
    ledger.close()


def test_a_damaged_plan_says_the_way_out(tmp_path: Path) -> None:
    run, ledger = searched(tmp_path)
    run.assistants.write_text("{")
    with pytest.raises(RunError, match=r"assistants\.json.*; restore it, or remove it") as caught:
        lessons_are_left(run, configured(), ledger)
    assert "\n" not in str(caught.value)
    ledger.close()
