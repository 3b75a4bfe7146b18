from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from nas_distill.config import SamplerConfig
from nas_distill.errors import RunError, StudyError
from nas_distill.objectives import check_objectives
from nas_distill.records import TeacherRecord, TrialResult, TrialTask
from nas_distill.records.base import parse_sealed, seal
from nas_distill.search.study.ledger import StudyLedger
from tests.helpers import SmallRun, make_task
from tests.search.study.ledgers import ask_and_assign, complete, failed, open_ledger, stored, url

OBJECTIVES = check_objectives(("gap_points", "num_params"))


def test_a_complete_trial_is_stored_with_its_values_and_its_result(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    number = ask_and_assign(ledger)
    record = complete(number)
    ledger.tell(record)
    (trial,) = stored(tmp_path)
    assert trial.state is TrialState.COMPLETE
    assert trial.values == [1.5, float(record.cost.num_params)]
    assert parse_sealed(TrialResult, trial.user_attrs["result"], origin="study") == record.result()
    assert ledger.ended() == [record]


def test_ending_a_trial_twice_changes_nothing(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    number = ask_and_assign(ledger)
    ledger.tell(complete(number, gap=1.0))
    ledger.tell(complete(number, gap=9.0))
    assert [record.metrics and record.metrics.gap_points for record in ledger.ended()] == [1.0]


def test_a_trial_interrupted_while_its_end_is_stored_counts_once(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    number = ask_and_assign(ledger)
    on_disk = optuna.load_study(study_name="nas_distill", storage=url(tmp_path))
    trial = optuna.trial.Trial(on_disk, stored(tmp_path)[0]._trial_id)
    trial.set_user_attr("result", seal(complete(number).result()))  # killed before the state was written
    ledger = open_ledger(tmp_path)
    assert ledger.ended() == []
    assert [task.number for task in ledger.unfinished()] == [number]
    ledger.tell(complete(number))
    assert len(ledger.ended()) == 1
    assert ledger.unfinished() == []


def test_a_failed_trial_has_state_fail(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.tell(failed(ask_and_assign(ledger)))
    (trial,) = stored(tmp_path)
    assert trial.state is TrialState.FAIL
    assert ledger.ended()[0].error == "NaN"


def test_a_rejected_candidate_is_pruned_with_its_constraints(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    trial = ledger.ask()
    trial.suggest_float("x", 0, 1)
    task = make_task()
    ledger.reject(trial, "too big", spec=task.spec, cost=task.cost, violations={"num_params": 0.5})
    (frozen,) = stored(tmp_path)
    assert frozen.state is TrialState.PRUNED
    assert frozen.user_attrs["rejection"] == "too big"
    assert any("constraints" in key for key in frozen.system_attrs)
    assert ledger.rejected() == 1
    assert ledger.ended() == []


def test_the_sampler_learns_the_size_limit(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    feasible = []
    for _ in range(60):
        trial = ledger.ask()
        x = trial.suggest_float("x", 0, 1)
        if x > 0.3:
            ledger.reject(trial, "too big", spec=make_task().spec, violations={"num_params": x - 0.3})
        else:
            ledger.assign(trial, make_task(trial.number), {"num_params": x - 0.3})
            ledger.tell(complete(trial.number))  # equal values: only the constraint tells candidates apart
        feasible.append(x <= 0.3)
    assert sum(feasible[20:]) / 40 > 0.6  # 0.3 by chance


def test_after_reopening_only_assigned_trials_are_unfinished(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    done, flying = ask_and_assign(ledger), ask_and_assign(ledger)
    ledger.ask()  # the process died before this candidate was assigned
    ledger.tell(complete(done))
    ledger.close()
    again = open_ledger(tmp_path)
    assert [task.number for task in again.unfinished()] == [flying]
    again.tell(complete(flying))
    assert not [trial for trial in stored(tmp_path) if trial.state is TrialState.RUNNING]


def test_a_reopened_study_does_not_repeat_its_proposals(tmp_path: Path) -> None:
    def propose() -> list[float]:
        ledger = open_ledger(tmp_path, seed=5)
        values = []
        for _ in range(3):
            trial = ledger.ask()
            values.append(trial.suggest_float("x", 0, 1))
            ledger.reject(trial, "for the test")
        ledger.close()
        return values

    first, second = propose(), propose()
    assert not set(first) & set(second)


def test_equal_seeds_propose_the_same_and_other_seeds_do_not(tmp_path: Path) -> None:
    values = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        (tmp_path / name).mkdir()
        values.append(open_ledger(tmp_path / name, seed=seed).ask().suggest_float("x", 0, 1))
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_random_proposals_do_not_repeat_the_sampler(sampler: str) -> None:
    ledger = StudyLedger(None, "nas_distill", OBJECTIVES, 0, SamplerConfig(name=sampler))
    drawn = [
        [ledger.ask(at_random=at_random).suggest_float("x", 0, 1) for _ in range(8)] for at_random in (False, True)
    ]
    assert not set(drawn[0]) & set(drawn[1])


def test_other_objectives_are_an_error_with_both_lists(tmp_path: Path) -> None:
    open_ledger(tmp_path)
    with pytest.raises(StudyError) as caught:
        open_ledger(tmp_path, names=("gap_points", "macs"))
    assert (caught.value.code, caught.value.field) == ("study.other_objectives", "study 'nas_distill'")
    assert all(names in str(caught.value) for names in ("gap_points, num_params", "gap_points, macs"))


def test_withdraw_deletes_only_a_study_that_the_ledger_created(tmp_path: Path) -> None:
    open_ledger(tmp_path).withdraw()
    others = ("agreement", "macs", "num_params")
    open_ledger(tmp_path, names=others)
    open_ledger(tmp_path, names=others).withdraw()
    with pytest.raises(StudyError) as caught:
        open_ledger(tmp_path)
    assert caught.value.code == "study.other_objectives"


def test_another_teacher_is_an_error(tmp_path: Path, small_run: SmallRun) -> None:
    teacher = small_run.run.read_teacher()
    ledger = open_ledger(tmp_path)
    ledger.set_teacher(teacher)
    ledger.set_teacher(teacher)
    other = TeacherRecord.model_validate(teacher.model_dump() | {"weights_sha256": "0" * 64})
    with pytest.raises(StudyError) as caught:
        ledger.set_teacher(other)
    assert (caught.value.code, caught.value.field) == ("study.other_teacher", "study 'nas_distill'")


def test_the_result_of_a_trial_that_the_study_lacks_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        open_ledger(tmp_path).tell(complete(41))
    assert (caught.value.code, caught.value.field) == ("run.trial_not_in_study", "trials/00041")


def test_the_task_is_stored_once_and_a_rejected_candidate_keeps_its_spec_and_cost(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.tell(complete(ask_and_assign(ledger)))
    task = make_task()
    ledger.reject(ledger.ask(), "too big", spec=task.spec, cost=task.cost, violations={"num_params": 0.5})
    trained, rejected = stored(tmp_path)
    assert set(trained.user_attrs) >= {"task", "result", "status", "num_params", "gap_points"}
    assert set(rejected.user_attrs) == {"rejection", "spec", "cost"}
    assert parse_sealed(TrialTask, trained.user_attrs["task"], origin="study") == make_task(0)


def test_a_study_of_another_version_is_an_error(tmp_path: Path) -> None:
    open_ledger(tmp_path).close()
    study = optuna.load_study(study_name="nas_distill", storage=url(tmp_path))
    study.set_user_attr("schema_version", 1)
    with pytest.raises(RunError) as caught:
        open_ledger(tmp_path)
    assert (caught.value.code, caught.value.field) == ("run.other_version", "study 'nas_distill'")


def test_a_study_from_before_the_schema_version_is_an_error(tmp_path: Path) -> None:
    study = optuna.create_study(study_name="nas_distill", storage=url(tmp_path), directions=["minimize", "minimize"])
    study.set_user_attr("objectives", ["gap_points", "num_params"])
    with pytest.raises(RunError) as caught:
        open_ledger(tmp_path)
    assert caught.value.code == "run.other_version"


def test_a_trial_is_repeated_with_its_parameters(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    number = ask_and_assign(ledger)
    ledger.tell(complete(number))
    again = ledger.repeat(number)
    assert [trial.state for trial in stored(tmp_path)] == [TrialState.COMPLETE]
    task = make_task(again.number).model_copy(update={"assistant": number})
    ledger.assign(again, task, {})
    assert ledger.unfinished() == [task]
    ledger.tell(complete(again.number, gap=0.5))
    first, second = stored(tmp_path)
    assert (second.params, second.distributions, second.constraints) == (
        first.params, first.distributions, first.constraints,
    )  # fmt: skip
    assert second.values == [0.5, float(task.cost.num_params)]
    with pytest.raises(RunError) as caught:
        ledger.repeat(7)
    assert (caught.value.code, caught.value.field) == ("run.trial_not_in_study", "trials/00007")


def test_a_repetition_that_was_not_assigned_does_not_exist_after_a_crash(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    number = ask_and_assign(ledger)
    ledger.tell(complete(number))
    ledger.repeat(number)
    again = open_ledger(tmp_path)
    assert again.unfinished() == []
    assert [trial.state for trial in stored(tmp_path)] == [TrialState.COMPLETE]
    # And the next proposal is the sampler's own.
    assert again.ask().suggest_float("x", 0, 1) != stored(tmp_path)[number].params["x"]


def test_a_study_in_memory_needs_no_database() -> None:
    ledger = StudyLedger(None, "nas_distill", OBJECTIVES, 0)
    number = ask_and_assign(ledger)
    record = complete(number)
    ledger.tell(record)
    assert ledger.ended() == [record]
    ledger.close()


def test_ended_trials_are_listed_in_order_of_their_end(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    numbers = [ask_and_assign(ledger) for _ in range(3)]
    for number in (numbers[2], numbers[0], numbers[1]):
        ledger.tell(complete(number))
    assert [record.number for record in open_ledger(tmp_path).ended()] == [2, 0, 1]


def test_rejections_are_counted_over_sessions(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.reject(ledger.ask(), "one")
    optuna.load_study(study_name="nas_distill", storage=url(tmp_path)).ask()  # of a process that died
    again = open_ledger(tmp_path)
    assert again.rejected() == 1
    again.unfinished()
    assert again.rejected() == 2
