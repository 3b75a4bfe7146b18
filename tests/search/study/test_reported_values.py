from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from nas_distill.analysis.front.front import pareto_front
from nas_distill.analysis.trials.study_reader import read_study
from nas_distill.config import SamplerConfig, StoppedTrialValue
from nas_distill.objectives import check_objectives
from nas_distill.records import EpochMetrics, TrialRecord, TrialStatus
from nas_distill.search.study.ledger import StudyLedger
from nas_distill.search.study.reported_values import reported_values
from tests.records.factory import changed_record
from tests.report.factory import make_record, make_run

OBJECTIVES = check_objectives(("gap_points", "num_params", "agreement"))
GAPS = (30.0, 20.0, 16.0)


def stopped(number: int = 0, gaps: tuple[float, ...] = GAPS, *, num_params: int = 1000) -> TrialRecord:
    curve = tuple(
        EpochMetrics(
            epoch=epoch, train_loss=1.0, loss_parts={}, learning_rate=0.1, top1=0.5, nll_nats=1.0, gap_points=gap,
            agreement=1.0 - gap / 100.0, divergence_nats=0.5, wall_time_s=1.0,
        )
        for epoch, gap in enumerate(gaps, 1)
    )  # fmt: skip
    record = make_record(number, gap_points=99.0, num_params=num_params, status=TrialStatus.STOPPED)
    return changed_record(record, curve=curve)


def test_a_stopped_trial_has_failed_by_default() -> None:
    assert reported_values(stopped(), OBJECTIVES) is None


def test_the_value_reached_is_the_last_of_the_curve() -> None:
    assert reported_values(stopped(), OBJECTIVES, "reached") == pytest.approx((16.0, 1000.0, 0.84))


def test_extrapolated_values_follow_the_direction_of_each_objective() -> None:
    values = reported_values(stopped(), OBJECTIVES, "extrapolated")
    assert values is not None
    gap, size, agreement = values
    assert gap < 16.0
    assert size == 1000.0
    assert agreement == pytest.approx(1.0 - gap / 100.0)


@pytest.mark.parametrize("stopped_trial_value", ["reached", "extrapolated"])
def test_a_stopped_trial_without_a_curve_has_failed(stopped_trial_value: StoppedTrialValue) -> None:
    assert reported_values(stopped(gaps=()), OBJECTIVES, stopped_trial_value) is None


@pytest.mark.parametrize("stopped_trial_value", ["failed", "reached", "extrapolated"])
def test_complete_and_failed_trials_are_reported_as_measured(stopped_trial_value: StoppedTrialValue) -> None:
    objectives = OBJECTIVES[:2]
    complete = make_record(0, gap_points=2.0, num_params=1000)
    assert reported_values(complete, objectives, stopped_trial_value) == pytest.approx((2.0, 1000.0))
    failed = make_record(0, gap_points=2.0, num_params=1000, status=TrialStatus.FAILED)
    assert reported_values(failed, objectives, stopped_trial_value) is None


@pytest.mark.parametrize("stopped_trial_value", ["failed", "reached", "extrapolated"])
def test_a_stopped_trial_is_never_on_the_front(tmp_path: Path, stopped_trial_value: StoppedTrialValue) -> None:
    run = make_run(tmp_path, [make_record(0, gap_points=5.0, num_params=9000)])
    objectives = check_objectives(("gap_points", "num_params"))
    ledger = StudyLedger(
        run.own_storage, "nas_distill", objectives, 0, SamplerConfig(stopped_trial_value=stopped_trial_value)
    )
    trial = ledger.ask()
    # It would dominate the complete one, were it not stopped.
    record = stopped(trial.number, gaps=(4.0, 2.0), num_params=100)
    ledger.assign(trial, record.task, {})
    ledger.tell(record)
    kept = optuna.load_study(study_name="nas_distill", storage=run.own_storage)
    assert kept.trials[trial.number].state is TrialState.FAIL
    assert trial.number not in {best.number for best in kept.best_trials}
    assert ledger.ended()[-1].status is TrialStatus.STOPPED

    study = read_study(run)
    assert study.trials["status"].tolist() == ["complete", "stopped"]
    assert pareto_front(study.trials, study.objectives, study.teacher).numbers == (0,)


@pytest.mark.parametrize("stopped_trial_value", ["failed", "reached"])
def test_reopening_a_study_reports_the_same_value_for_a_stopped_trial(
    tmp_path: Path, stopped_trial_value: StoppedTrialValue
) -> None:
    run = make_run(tmp_path, [make_record(0, gap_points=5.0, num_params=9000)])
    objectives = check_objectives(("gap_points", "num_params"))
    ledger = StudyLedger(
        run.own_storage, "nas_distill", objectives, 0, SamplerConfig(stopped_trial_value=stopped_trial_value)
    )
    trial = ledger.ask()
    record = stopped(trial.number, gaps=(4.0, 2.0), num_params=100)
    ledger.assign(trial, record.task, {})
    ledger.tell(record)
    heard = ledger._study.trials[trial.number]
    ledger.close()
    again = StudyLedger(run.own_storage, "nas_distill", objectives, 0, SamplerConfig())._study.trials[trial.number]
    assert (again.state, again.values) == (heard.state, heard.values)
    assert heard.values == (None if stopped_trial_value == "failed" else [2.0, 100.0])
