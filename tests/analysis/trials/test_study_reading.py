"""The rows that `read_study` reads from the database itself, compared with those of Optuna."""

from __future__ import annotations

import errno
import os
from datetime import UTC
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest

from nas_distill.analysis.trials.columns import curve_of, read_trial, row_of
from nas_distill.analysis.trials.study_reader import COLUMNS, CURVE_VALUES, load_frame, read_study
from nas_distill.config import ResourcesConfig, SearchConfig
from nas_distill.config.loading import dump_config
from nas_distill.errors import RunError
from nas_distill.records import TrialStatus
from nas_distill.records.base import seal
from nas_distill.run_directory.files import write_text
from nas_distill.run_directory.layout import RunDirectory
from tests.report.factory import make_record, make_run


def _study(run: RunDirectory) -> optuna.Study:
    return optuna.load_study(study_name="nas_distill", storage=run.own_storage)


def _a_run(path: Path) -> RunDirectory:
    records = [make_record(0, gap_points=1.25, num_params=1000, status=status) for status in TrialStatus]
    run = make_run(path, records, rejections=["too large", "known"], running=2, lost=1)
    study = _study(run)
    study.enqueue_trial({"width": 3})
    study.add_trials([trial for trial in study.get_trials() if trial.state.is_finished()])
    return run


def test_a_study_is_read_as_by_get_trials(tmp_path: Path) -> None:
    run = _a_run(tmp_path)
    snapshot = read_study(run)
    trials = _study(run).get_trials()
    ended = [one for one in trials if one.state.is_finished() and "rejection" not in one.user_attrs]
    assert len(ended) == 8
    rows, curves = [], []
    for one in ended:
        stored = read_trial(one.user_attrs, "here")
        completed = pd.Timestamp(one.datetime_complete.astimezone()) if one.datetime_complete else None
        rows.append({"number": one.number, **row_of(stored, "here"), "completed_at": completed})
        curves.append(curve_of(one.number, stored))
    expected = pd.DataFrame(rows, columns=list(COLUMNS)).astype(snapshot.trials.dtypes.to_dict())
    pd.testing.assert_frame_equal(snapshot.trials, expected, check_exact=True)
    assert snapshot.trials["completed_at"].notna().all()
    np.testing.assert_array_equal(snapshot.curves.to_numpy(dtype=np.float64), np.concatenate(curves))
    rejected = [one for one in trials if "rejection" in one.user_attrs]
    assert [(one.number, one.reason) for one in snapshot.rejections] == [
        (one.number, one.user_attrs["rejection"]) for one in rejected
    ]
    assert snapshot.running == sum(one.state is optuna.trial.TrialState.RUNNING for one in trials) == 2


def test_the_time_of_the_end_is_in_utc(tmp_path: Path) -> None:
    run = make_run(tmp_path, [make_record(0, gap_points=1.0, num_params=1000)])
    (trial,) = _study(run).get_trials()
    assert trial.datetime_complete is not None
    found = load_frame(run)["completed_at"].iloc[0]
    assert found.to_pydatetime() == trial.datetime_complete.astimezone(UTC)


def test_the_other_studies_of_a_shared_database_stay_out(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    for place, name in enumerate(("one", "two")):
        config = SearchConfig(resources=ResourcesConfig(storage=storage, study_name=name))
        records = [make_record(0, gap_points=float(place), num_params=1000)] * (place + 1)
        make_run(tmp_path / name, records, config=config)
    assert load_frame(RunDirectory(tmp_path / "one"))["gap_points"].round(9).tolist() == [0.0]
    assert load_frame(RunDirectory(tmp_path / "two"))["gap_points"].round(9).tolist() == [1.0, 1.0]


def test_a_database_path_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    config = SearchConfig(resources=ResourcesConfig(storage=f"sqlite:///{tmp_path / ('n' * 300)}"))
    run = RunDirectory(tmp_path)
    write_text(run.config, dump_config(config))
    with pytest.raises(RunError) as caught:
        read_study(run)
    assert (caught.value.code, caught.value.field) == ("run.unreadable_file", config.resources.storage)
    assert os.strerror(errno.ENAMETOOLONG) in str(caught.value)


def test_rows_are_sorted_by_number_in_any_order_of_the_database(tmp_path: Path) -> None:
    run = make_run(tmp_path, [make_record(0, gap_points=float(gap), num_params=1000) for gap in range(3)])
    database = optuna.storages.RDBStorage(run.own_storage)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE trials SET number = 2 - number")
    database.remove_session()
    database.engine.dispose()
    snapshot = read_study(run)
    assert snapshot.trials["number"].tolist() == [0, 1, 2]
    assert snapshot.trials["gap_points"].round(9).tolist() == [2.0, 1.0, 0.0]
    assert snapshot.curves["number"].is_monotonic_increasing
    assert list(snapshot.curves.columns) == ["number", "epoch", *CURVE_VALUES]


def test_a_record_with_a_wrong_checksum_or_type_is_an_error() -> None:
    sealed = seal(make_record(0, gap_points=1.0, num_params=1000).task)
    flipped = sealed.replace('"num_params":1000', '"num_params":1001')
    for value in ("", "{", '"text"', "NaN", 3, ["{}"], sealed[:-40], flipped, sealed.replace("checksum", "checksums")):
        with pytest.raises(RunError) as caught:
            read_trial({"task": value}, "trial 3")
        assert (caught.value.code, caught.value.field) == ("run.damaged_record", "trial 3")
    assert read_trial({"task": sealed}, "here").task["cost"]["num_params"] == 1000
    assert read_trial({}, "here").result == {}
