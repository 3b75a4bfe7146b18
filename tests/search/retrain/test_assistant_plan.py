"""The choice of assistants from a real study, and the bookkeeping of their rounds. No Ray."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from nas_distill.analysis.assistants.choice import AssistantPlan, AssistantRound, read_plan
from nas_distill.config import AssistantsConfig, BudgetConfig, SearchConfig
from nas_distill.errors import RunError
from nas_distill.objectives import check_objectives
from nas_distill.records import Recipe, TrialOutcome, TrialRecord, TrialStatus
from nas_distill.records.task import TrialTask
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.results import end_trial
from nas_distill.search.driver.budget import BudgetWatch
from nas_distill.search.driver.driver import SearchDriver
from nas_distill.search.retrain.assistant_plan import (
    RepeatedTasks,
    extend_plan,
    has_unfinished_rounds,
    planned_rounds,
    write_plan,
)
from nas_distill.search.study.ledger import StudyLedger
from tests.helpers import Heard
from tests.records.factory import changed_record
from tests.report.factory import make_record, make_run, make_spec

OBJECTIVES = check_objectives(("gap_points", "num_params"))
SIZES = {0: (2_000, 30.0), 1: (10_000, 12.0), 2: (60_000, 6.0), 3: (150_000, 3.0), 4: (600_000, 0.2)}
"""Parameters and gap of the students. Trial 1 dominates trial 5, which is therefore not on the front."""


def configured(count: int = 1, **changes: object) -> SearchConfig:
    return SearchConfig(assistants=AssistantsConfig(count=count), **changes)  # type: ignore[arg-type]  # as each test gives it


def open_ledger(run: RunDirectory) -> StudyLedger:
    return StudyLedger(run.own_storage, "nas_distill", OBJECTIVES, 0)


def finish(ledger: StudyLedger, run: RunDirectory, records: Sequence[TrialRecord]) -> None:
    """Add finished trials to the study, as a search does."""
    for record in records:
        trial = ledger.ask()
        trial.suggest_int("width", 1, 64)
        assert trial.number == record.number
        ledger.assign(trial, record.task, {"num_params": -1.0})
        run.trial(record.number).write_record(record)
        ledger.tell(record)


def searched(path: Path, *, count: int = 1) -> tuple[RunDirectory, StudyLedger]:
    """Return a run whose own trials have ended."""
    run = make_run(path, config=configured(count))
    ledger = open_ledger(run)
    records = [make_record(number, gap_points=gap, num_params=size) for number, (size, gap) in SIZES.items()]
    finish(ledger, run, [*records, make_record(5, gap_points=14.0, num_params=11_000)])
    return run, ledger


def distilled(driver: SearchDriver, run: RunDirectory, gaps: Sequence[float]) -> list[TrialTask]:
    """Do the work of workers, with these gaps as results."""
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
    planned = planned_rounds(read_plan(run), ledger)[-1]
    return SearchDriver(
        run, ledger, RepeatedTasks(ledger, planned), objectives=OBJECTIVES,
        watch=BudgetWatch(BudgetConfig(trials=len(planned.students))), max_failures=0, progress=Heard(),
        assistant=planned.assistant,
    )  # fmt: skip


def extend(
    plan: AssistantPlan, run: RunDirectory, config: SearchConfig, ledger: StudyLedger, cannot_teach: Container[int] = ()
) -> AssistantPlan:
    return extend_plan(plan, run, ledger, config.assistants, config.picks, cannot_teach=cannot_teach)


def unfinished(run: RunDirectory, config: SearchConfig, ledger: StudyLedger) -> bool:
    return has_unfinished_rounds(run, ledger, config.assistants, config.picks)


def test_the_front_decides_the_assistant_and_its_students(tmp_path: Path) -> None:
    run, ledger = searched(tmp_path)
    assert unfinished(run, configured(), ledger)
    plan = extend(AssistantPlan(), run, configured(), ledger)
    assert [(one.assistant, one.students) for one in plan.rounds] == [(3, (0, 1, 2))]
    assert not run.assistants.exists()
    write_plan(run, plan)
    assert read_plan(run) == plan
    assert [one.number for one in planned_rounds(plan, ledger)[0].students] == [0, 1, 2]
    ledger.close()


@pytest.mark.parametrize(
    ("settings", "students"),
    [({"students": 1}, (0,)), ({"min_gap_points": 20.0}, (0,)), ({"min_gap_points": 7.0, "students": 5}, (0, 1))],
)
def test_the_settings_limit_the_number_of_students_and_their_gap(
    tmp_path: Path, settings: dict[str, float], students: tuple[int, ...]
) -> None:
    run, ledger = searched(tmp_path)
    config = SearchConfig(assistants=AssistantsConfig.model_validate({"count": 1, **settings}))
    (round_,) = extend(AssistantPlan(), run, config, ledger).rounds
    assert round_.students == students
    ledger.close()


def test_without_a_large_gap_there_is_no_assistant(tmp_path: Path) -> None:
    run, ledger = searched(tmp_path)
    config = SearchConfig(assistants=AssistantsConfig(count=1, min_gap_points=50.0))
    plan = extend(AssistantPlan(), run, config, ledger)
    assert plan.rounds == ()
    assert plan.stop_reason
    assert not unfinished(run, config, ledger)
    assert not unfinished(run, SearchConfig(), ledger)
    ledger.close()


def test_a_round_repeats_the_same_trials(tmp_path: Path) -> None:
    run, ledger = searched(tmp_path)
    write_plan(run, extend(AssistantPlan(), run, configured(), ledger))
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
    # The sampler accepts these trials as data.
    trial = ledger.ask()
    assert 1 <= trial.suggest_int("width", 1, 64) <= 64
    ledger.close()


def test_an_interrupted_round_continues_and_finished_students_are_not_trained_again(tmp_path: Path) -> None:
    run, ledger = searched(tmp_path)
    write_plan(run, extend(AssistantPlan(), run, configured(), ledger))
    driver = open_driver(run, ledger)
    distilled(driver, run, (25.0,))
    flying = driver.next_task()  # the process dies here,
    assert flying is not None
    ledger.repeat(2)  # and another one dies between adding a trial and its task
    ledger.close()

    ledger = open_ledger(run)
    assert unfinished(run, configured(), ledger)
    assert unfinished(
        run, SearchConfig(), ledger
    )  # a round that has begun is finished even without assistants in the configuration
    # The search's own driver ignores them.
    own = SearchDriver(
        run, ledger, RepeatedTasks(ledger, planned_rounds(read_plan(run), ledger)[0]), objectives=OBJECTIVES,
        watch=BudgetWatch(BudgetConfig(trials=6)), max_failures=0, progress=Heard(),
    )  # fmt: skip
    assert (own.remaining, own.unfinished) == (0, 0)
    driver = open_driver(run, ledger)
    assert driver.remaining == 2
    again, last = distilled(driver, run, (11.0, 6.5))
    assert again == flying
    assert (last.spec, last.assistant) == (make_spec(2), 3)
    assert driver.next_task() is None
    assert not unfinished(run, configured(), ledger)
    assert [record.number for record in ledger.ended() if record.assistant == 3] == [6, 7, 8]
    ledger.close()


def test_a_result_on_disk_that_the_study_lacks_is_recorded(tmp_path: Path) -> None:
    run, ledger = searched(tmp_path)
    write_plan(run, extend(AssistantPlan(), run, configured(), ledger))
    driver = open_driver(run, ledger)
    distilled(driver, run, (25.0, 11.0))
    last = driver.next_task()
    assert last is not None
    outcome = TrialOutcome(status=TrialStatus.FAILED, error="NaN")
    end_trial(run.trial(last.number), TrialRecord(task=last, outcome=outcome))
    again = open_driver(run, ledger)
    assert (again.remaining, again.unfinished) == (0, 0)
    assert not unfinished(run, configured(), ledger)
    ledger.close()


def test_the_second_assistant_is_smaller_and_from_the_front_that_the_first_left(tmp_path: Path) -> None:
    run, ledger = searched(tmp_path, count=2)
    write_plan(run, extend(AssistantPlan(), run, configured(2), ledger))
    distilled(open_driver(run, ledger), run, (25.0, 11.0, 4.0))
    assert unfinished(run, configured(2), ledger)
    assert not unfinished(run, configured(1), ledger)
    plan = extend(read_plan(run), run, configured(2), ledger)
    # Trial 8 is trial 2 (60k), distilled from trial 3; midway between 150k and the students is 44k.
    assert [(one.assistant, one.students) for one in plan.rounds] == [(3, (0, 1, 2)), (8, (0, 1))]
    write_plan(run, plan)
    distilled(open_driver(run, ledger), run, (24.0, 30.0))
    # The smallest gap of a student counts: trial 1 (10k) has it as trial 7, distilled from trial 3.
    following = extend(read_plan(run), run, configured(3), ledger)
    assert [(one.assistant, one.students) for one in following.rounds[2:]] == [(7, (0,))]
    write_plan(run, following)
    distilled(open_driver(run, ledger), run, (26.0,))
    last = extend(read_plan(run), run, configured(4), ledger)
    assert last.rounds == following.rounds
    assert last.stop_reason
    ledger.close()


def test_of_two_trainings_of_a_student_the_better_one_teaches(tmp_path: Path) -> None:
    run, ledger = searched(tmp_path, count=2)
    write_plan(run, extend(AssistantPlan(), run, configured(2), ledger))
    distilled(open_driver(run, ledger), run, (25.0, 11.0, 6.5))  # the last, trial 8, had a gap of 6 before, as trial 2
    plan = extend(read_plan(run), run, configured(2), ledger)
    assert [(one.assistant, one.students) for one in plan.rounds[1:]] == [(2, (0, 1))]
    ledger.close()


def test_students_that_cannot_teach_are_skipped(tmp_path: Path) -> None:
    run, ledger = searched(tmp_path)
    plan = extend(AssistantPlan(), run, configured(), ledger, cannot_teach={3, 2})
    assert [one.assistant for one in plan.rounds] == [4]
    plan = extend(AssistantPlan(), run, configured(), ledger, cannot_teach={1, 2, 3, 4})
    assert plan.rounds == ()
    assert plan.stop_reason
    ledger.close()


def test_a_training_that_was_ended_without_a_record_is_repeated(tmp_path: Path) -> None:
    run, ledger = searched(tmp_path)
    write_plan(run, extend(AssistantPlan(), run, configured(), ledger))
    driver = open_driver(run, ledger)
    distilled(driver, run, (25.0, 11.0))
    lost = driver.next_task()
    assert lost is not None
    study = optuna.load_study(study_name="nas_distill", storage=run.own_storage)
    study.tell(lost.number, state=TrialState.FAIL)  # by another program
    (again,) = distilled(open_driver(run, ledger), run, (6.5,))
    assert again == lost.model_copy(update={"number": again.number})
    assert not unfinished(run, configured(), ledger)
    ledger.close()


def test_a_student_with_the_teachers_classifier_neither_teaches_nor_learns(tmp_path: Path) -> None:
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
    (round_,) = extend(AssistantPlan(), run, configured(), ledger).rounds
    assert (round_.assistant, round_.students) == (3, (1,))
    ledger.close()


@pytest.mark.parametrize(("assistant", "students"), [(3, (77,)), (77, (0,)), (77, ())])
def test_a_plan_of_another_study_is_rejected(tmp_path: Path, assistant: int, students: tuple[int, ...]) -> None:
    run, ledger = searched(tmp_path)
    write_plan(run, AssistantPlan(rounds=(AssistantRound(assistant=assistant, students=students, reason="other"),)))
    with pytest.raises(RunError) as caught:
        unfinished(run, configured(2), ledger)
    assert (caught.value.code, caught.value.field) == ("run.foreign_assistant_plan", "assistants.json")
    ledger.close()


def test_a_damaged_plan_is_a_run_error(tmp_path: Path) -> None:
    run, ledger = searched(tmp_path)
    run.assistants.write_text("{")
    with pytest.raises(RunError) as caught:
        unfinished(run, configured(), ledger)
    assert (caught.value.code, caught.value.field) == ("run.damaged_record", str(run.assistants))
    assert "\n" not in str(caught.value)
    ledger.close()
