"""Students after quantisation: what is stored, what becomes a column and an objective, what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from nas_distill.analysis.run import Run
from nas_distill.callbacks import NullProgress
from nas_distill.cli.quantise import command
from nas_distill.config import SearchConfig
from nas_distill.export.quantised import front_numbers, quantise_students
from nas_distill.records.export import Int8Record
from nas_distill.run_directory.files import read_record, write_record
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.repair.run import repair_run
from tests.export.conftest import Exported
from tests.export.runs import OWN


@pytest.fixture(scope="module")
def quantised(finished: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    folder = tmp_path_factory.mktemp("quantised") / "digits"
    shutil.copytree(finished.path, folder)
    repair_run(folder)  # the trials were run without a study
    quantise_students(folder, [OWN], NullProgress())
    return RunDirectory(folder)


def test_the_result_is_that_of_an_export(quantised: RunDirectory, everything: Exported) -> None:
    record = read_record(quantised.int8(OWN), Int8Record)
    exported = everything.manifest.report("onnx-int8")
    assert exported is not None
    assert record.scores.top1 == exported.scores.top1
    assert record.size_bytes == exported.size_bytes
    assert record.gap_points == pytest.approx(100.0 * (quantised.read_teacher().top1 - record.scores.top1))
    assert not list(quantised.path.rglob("*.onnx"))


def test_results_are_columns_and_an_objective(quantised: RunDirectory) -> None:
    run = Run(quantised.path)
    trials = run.study.trials.set_index("number")
    assert trials.loc[OWN, "int8_gap_points"] == read_record(quantised.int8(OWN), Int8Record).gap_points
    assert trials["int8_latency_ms"].to_dict()[OWN] > 0
    assert trials.drop(OWN)["int8_gap_points"].isna().all()
    front = run.front(("int8_gap_points", "size_int8_bytes"))
    assert list(front.numbers) == [OWN]
    assert front.hypervolume > 0.0


def test_the_command_keeps_stored_results_until_the_weights_change(quantised: RunDirectory, tmp_path: Path) -> None:
    run = RunDirectory(shutil.copytree(quantised.path, tmp_path / "run"))
    stored = read_record(run.int8(OWN), Int8Record)
    arguments = [str(run.path), "--picks", str(OWN)]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "int8_gap_points,size_int8_bytes" in result.output
    assert read_record(run.int8(OWN), Int8Record) == stored  # latencies of a second measurement would differ
    write_record(run.int8(OWN), stored.model_copy(update={"weights_sha256": "of other weights"}))
    assert CliRunner().invoke(command, arguments, catch_exceptions=False).exit_code == 0
    again = read_record(run.int8(OWN), Int8Record)
    assert (again.weights_sha256, again.scores) == (stored.weights_sha256, stored.scores)


def test_the_whole_front_is_the_default(quantised: RunDirectory) -> None:
    assert set(front_numbers(quantised.path)) == set(Run(quantised.path).front().numbers)


def test_a_search_cannot_have_the_gap_after_quantisation_as_an_objective() -> None:
    with pytest.raises(ValidationError) as caught:
        SearchConfig(objectives=("int8_gap_points", "num_params"))
    assert caught.value.errors()[0]["type"] == "config.objective_after_training"
