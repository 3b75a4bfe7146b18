"""Searches for latency: what is measured, stored, reported, refused and continued."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import nas_distill
from nas_distill.config import LOCAL_DIR
from nas_distill.errors import ConfigError, RunError
from nas_distill.records.cost import TargetRecord
from nas_distill.report import build_report
from nas_distill.run_directory.files import read_record, write_record
from nas_distill.run_directory.layout import RunDirectory
from tests.helpers import SMALL_DATA, SmallRun

pytestmark = pytest.mark.usefixtures("shared_cluster")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache") / "latency.db"


def settings(small: SmallRun, cache: Path, **target: object) -> dict[str, Any]:
    return {
        "data": SMALL_DATA.model_dump(),
        "teacher": {"model": f"{LOCAL_DIR}{small.run.teacher}"},
        "space": {"name": "tiny", "initial_weights": ("random",)},
        "asha": {"rule": "none"},
        "recipe": {"epochs": 1, "batch_size": 64},
        "resources": {"max_parallel_trials": 1},
        "objectives": ("gap_points", "latency_ms", "throughput_per_s"),
        "target": {"cache": str(cache), "batch_size": 4, **target},
    }


def test_a_search_for_latency_records_reports_and_continues(small_run: SmallRun, cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = nas_distill.search(**settings(small_run, cache), budget={"trials": 2}, out=folder)
    trials = run.study.trials
    assert len(trials) == 2
    for name in ("latency_ms", "latency_iqr_ms", "throughput_per_s", "throughput_iqr_per_s", "peak_memory_bytes"):
        assert (trials[name] >= 0).all(), name
    record = read_record(RunDirectory(folder).target, TargetRecord)
    assert record.source == "pytorch"
    assert record.teacher.latency_ms is not None
    assert run.study.teacher.cost == record.teacher
    front = run.front()
    assert front.reference[1] == pytest.approx(record.teacher.latency_ms)
    page = build_report(RunDirectory(folder)).paths.html.read_text(encoding="utf-8")
    assert record.device in page
    nas_distill.resume(folder, budget={"trials": 3})
    assert read_record(RunDirectory(folder).target, TargetRecord) == record
    write_record(RunDirectory(folder).target, record.model_copy(update={"device": "another machine"}))
    with pytest.raises(RunError) as caught:
        nas_distill.resume(folder, budget={"trials": 4})
    assert caught.value.code == "target.changed"
    assert len(nas_distill.load_run(folder).study.trials) == 3


def test_a_table_without_the_teacher_is_refused_and_leaves_nothing(
    small_run: SmallRun, cache: Path, tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"
    pd.DataFrame({"model": ["resnet18"], "latency_ms": [3.0]}).to_csv(table, index=False)
    with pytest.raises(ConfigError) as caught:
        nas_distill.search(
            **settings(small_run, cache, latency_table=str(table)), budget={"trials": 1}, out=tmp_path / "run"
        )
    assert caught.value.code == "target.teacher_not_measured"
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_command_that_does_not_exist_is_refused_before_anything_is_computed(
    small_run: SmallRun, cache: Path, tmp_path: Path
) -> None:
    config = settings(small_run, cache, latency_command="no-such-program")
    config["objectives"] = ("gap_points", "latency_ms")
    with pytest.raises(ConfigError) as caught:
        nas_distill.search(**config, budget={"trials": 1}, out=tmp_path / "run")
    assert caught.value.code == "target.no_command"
    assert not (tmp_path / "run").exists()
