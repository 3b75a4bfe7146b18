from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import optuna
import pandas as pd
import pytest

from nas_distill.analysis.trials.study_reader import COLUMNS, load_frame, read_study
from nas_distill.config import ResourcesConfig, SearchConfig
from nas_distill.errors import RunError, StudyError
from nas_distill.records import Calibration, TrialStatus
from nas_distill.run_directory.layout import RunDirectory
from tests.records.factory import changed_record
from tests.report.factory import make_record, make_run, make_spec


def test_a_row_holds_the_values_of_the_record(tmp_path: Path) -> None:
    record = make_record(0, gap_points=1.25, num_params=1000)
    frame = load_frame(make_run(tmp_path, [record]))
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == dict(COLUMNS)
    row = frame.iloc[0]
    assert record.metrics is not None
    assert row["gap_points"] == 1.25
    assert row["spec_id"] == record.spec.spec_id
    assert json.loads(row["arguments"]) == {"depths": [1, 2, 1], "stem_type": "deep", "width": 8}
    assert json.loads(row["class_gap_points"]) == list(record.metrics.class_gap_points)
    assert json.loads(row["curve_gap_points"]) == [point.gap_points for point in record.curve]
    assert (row["num_params"], row["macs"], row["epochs"], row["planned_epochs"]) == (1000, 31_000, 12, 12)


def test_a_row_holds_the_calibration_of_the_student(tmp_path: Path) -> None:
    record = make_record(0, gap_points=1.0, num_params=1000)
    calibration = Calibration(
        temperature=0.2, images=288, parts=5, in_weights=True, uncalibrated_nll_nats=1.3, uncalibrated_ece=0.7
    )
    metrics = record.outcome.metrics
    assert metrics is not None
    metrics = metrics.model_copy(update={"ece": 0.02, "ece_noise": 0.03, "calibration": calibration})
    calibrated = record.model_copy(update={"outcome": record.outcome.model_copy(update={"metrics": metrics})})
    row = load_frame(make_run(tmp_path, [calibrated])).iloc[0]
    names = ["ece", "ece_noise", "temperature", "uncalibrated_nll_nats", "uncalibrated_ece"]
    assert row[names].tolist() == [0.02, 0.03, 0.2, 1.3, 0.7]


def test_unknown_values_are_missing(tmp_path: Path) -> None:
    records = [make_record(0, gap_points=1.0, num_params=1000, status=status) for status in TrialStatus]
    frame = load_frame(make_run(tmp_path, records, lost=1))
    assert frame["status"].tolist() == ["complete", "stopped", "failed", "failed"]
    assert frame["gap_points"].isna().tolist() == [False, True, True, True]
    assert frame["wall_time_s"].isna().tolist() == [False, False, False, True]
    assert frame["num_params"].tolist() == [1000] * 4
    assert frame["temperature"].isna().all()
    assert frame["error"].isna().tolist() == [True, True, False, False]
    assert frame["spec_id"].iloc[3] == make_spec(1).spec_id


def test_rejected_and_running_trials_are_counted_but_have_no_rows(tmp_path: Path) -> None:
    run = make_run(tmp_path, rejections=["capacity ratio 1.30 is not below 1"], running=2)
    study = read_study(run)
    assert (len(study.trials), study.running) == (0, 2)
    assert {name: str(dtype) for name, dtype in study.trials.dtypes.items()} == dict(COLUMNS)
    assert [(one.number, one.candidate, one.reason) for one in study.rejections] == [
        (0, "small_resnet", "capacity ratio 1.30 is not below 1")
    ]


def test_a_rejection_with_state_fail_is_a_rejection(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    url, name = run.own_storage, "nas_distill"
    study = optuna.load_study(study_name=name, storage=url)
    trial = study.ask()
    trial.set_user_attr("rejection", "was trained before, as trial 0")
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    snapshot = read_study(run)
    assert (len(snapshot.trials), len(snapshot.rejections)) == (0, 1)


def test_a_shared_storage_is_read(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    config = SearchConfig(resources=ResourcesConfig(storage=storage))
    run = make_run(tmp_path / "run", [make_record(0, gap_points=1.0, num_params=1000)], config=config)
    assert load_frame(run)["number"].tolist() == [0]


def test_a_moved_run_is_read(tmp_path: Path) -> None:
    make_run(tmp_path / "old", [make_record(0, gap_points=1.0, num_params=1000)])
    moved = (tmp_path / "old").rename(tmp_path / "new")
    assert len(load_frame(RunDirectory(moved))) == 1


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        load_frame(RunDirectory(tmp_path))
    assert (caught.value.code, caught.value.field) == ("run.missing", str(tmp_path))


def test_a_missing_study_is_an_error_and_is_not_created(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (tmp_path / "study.db").unlink()
    with pytest.raises(StudyError) as caught:
        load_frame(run)
    assert (caught.value.code, caught.value.field) == ("study.missing", run.own_storage)
    assert not (tmp_path / "study.db").exists()


def test_a_run_in_a_shared_database_is_found_by_its_study_name(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    config = SearchConfig(resources=ResourcesConfig(storage=storage, study_name="one"))
    make_run(tmp_path / "one", [make_record(0, gap_points=1.0, num_params=1000)], config=config)
    moved = RunDirectory((tmp_path / "one").rename(tmp_path / "two"))
    assert len(load_frame(moved)) == 1
    moved.config.write_text(moved.config.read_text().replace("study_name: one", "study_name: other"))
    with pytest.raises(StudyError) as caught:
        load_frame(moved)
    assert (caught.value.code, caught.value.field) == ("study.missing", storage)
    assert "'other'" in str(caught.value)


def test_a_damaged_database_is_an_error(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (tmp_path / "study.db").write_bytes(b"not a database " * 100)
    with pytest.raises(StudyError) as caught:
        load_frame(run)
    assert (caught.value.code, caught.value.field) == ("study.storage_failed", run.own_storage)


def test_passwords_stay_out_of_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_PASSWORD", "hush")
    config = SearchConfig(resources=ResourcesConfig(storage="nosuchdb://user:${OUR_PASSWORD}@localhost/studies"))
    run = make_run(tmp_path)
    (tmp_path / "config.yaml").write_text(f"resources:\n  storage: {config.resources.storage}\n")
    with pytest.raises(StudyError) as caught:
        load_frame(run)
    assert "hush" not in str(caught.value)
    assert "user:***@localhost" in str(caught.value)


def test_a_damaged_result_costs_its_own_row(tmp_path: Path) -> None:
    run = make_run(tmp_path, [make_record(0, gap_points=1.0, num_params=1000)])
    study = optuna.load_study(study_name="nas_distill", storage=run.own_storage)
    damaged = ('{"status": ', "[1]", '{"schema_version": 2, "outcome": {"status": "complete"}}')
    for result in damaged:
        study.add_trial(optuna.trial.create_trial(values=[1.0, 2.0], user_attrs={"result": result}))
    snapshot = read_study(run)
    assert snapshot.trials["number"].tolist() == [0]
    assert [trial.number for trial in snapshot.damaged] == [1, 2, 3]


def test_a_damaged_result_in_the_study_is_read_from_the_run_directory(tmp_path: Path) -> None:
    record = make_record(0, gap_points=1.25, num_params=1000)
    run = make_run(tmp_path, [record])
    intact = read_study(run)
    run.trial(0).write_record(changed_record(record, number=0))
    with sqlite3.connect(tmp_path / "study.db") as database:
        update = (
            "UPDATE trial_user_attributes SET value_json = replace(value_json, '1.25', '9.25') WHERE key = 'result'"
        )
        assert database.execute(update).rowcount == 1
    healed = read_study(run)
    pd.testing.assert_frame_equal(healed.trials, intact.trials, check_exact=True)
    assert not healed.damaged


def test_a_result_of_another_version_is_an_error(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    study = optuna.load_study(study_name="nas_distill", storage=run.own_storage)
    study.add_trial(optuna.trial.create_trial(values=[1.0, 2.0], user_attrs={"result": '{"schema_version": 9}'}))
    with pytest.raises(RunError) as caught:
        load_frame(run)
    assert caught.value.code == "run.other_version"
    assert str(caught.value.field).endswith("study.db: trial 0")


def test_a_study_that_lacks_trials_of_the_run_directory_is_an_error(tmp_path: Path) -> None:
    run = make_run(tmp_path, [make_record(0, gap_points=1.0, num_params=1000)])
    run.trial(7).write_record(make_record(7, gap_points=1.0, num_params=1000))
    with pytest.raises(StudyError) as caught:
        load_frame(run)
    assert caught.value.code == "study.incomplete"


def test_a_run_is_read_from_a_path_that_a_database_url_cannot_contain(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [make_record(0, gap_points=1.0, num_params=1000)])
    odd = tmp_path / "what? 100%#1"
    run.path.rename(odd)
    assert len(load_frame(RunDirectory(odd))) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [odd.name]
